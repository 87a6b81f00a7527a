//! A handshake that takes the place of DTLS: one or two datagrams each way, lost ones are sent again, and the keys follow
//! from the random numbers of both sides. It protects nothing: the real DTLS is not deterministic, and is tested with real
//! processes.

mod record; // datagrams of the handshake
pub mod handshake; // one side of the handshake
pub mod provider; // the handshake as DTLS of the session layer

pub use handshake::{Handshake, Output, Role};
pub use provider::Seeded;
