//! The DTLS of sessions: where their keys come from, how long a flight waits to be sent again, and why a handshake failed.

pub mod handshake; // what a session learns of its handshake
pub mod provider; // DTLS instances for the session layer

pub use handshake::Handshake;
pub use provider::provider;
