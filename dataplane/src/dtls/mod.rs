//! DTLS of sessions: keys, retransmission timers, and reasons of failed handshakes.

pub mod handshake; // shared state of a session and its DTLS instance
pub mod tap; // copies the keys of any DTLS implementation
pub mod provider; // DTLS instances of the library

pub use handshake::Handshake;
pub use provider::provider;
pub use tap::tapped;
