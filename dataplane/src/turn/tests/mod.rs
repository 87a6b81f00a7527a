//! How the relay behaves.
