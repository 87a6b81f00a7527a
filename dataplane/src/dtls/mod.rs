//! The DTLS of sessions: where their keys come from, how long a flight waits to be sent again, and why a handshake failed.

pub mod handshake; // shared state of a session and its DTLS instance
pub mod provider; // DTLS instances for the session layer

pub use handshake::Handshake;
pub use provider::provider;
