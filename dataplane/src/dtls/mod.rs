//! DTLS of sessions: keys, retransmission timers, and reasons of failed handshakes.

pub mod handshake; // shared state of a session and its DTLS instance
pub mod provider; // DTLS instances for the session layer

pub use handshake::Handshake;
pub use provider::provider;
