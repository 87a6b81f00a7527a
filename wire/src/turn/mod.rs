//! TURN (RFC 8656): its attributes, channels and framing, in addition to STUN.
//!
//! The data plane decides which peers a client may reach.

mod fields; // attributes of a TURN request
mod channel; // ChannelData
mod framing; // messages in a stream
mod secret; // values derived from a secret
mod username; // user and expiry of a credential
mod embedded; // IPv4 addresses inside IPv6 addresses

#[cfg(test)]
mod properties; // properties for generated messages and streams

pub(crate) use embedded::NAT64_LENGTHS;

pub use channel::{ChannelData, ChannelError, ChannelNumber};
pub use embedded::{MAX_EMBEDDED, NAT64, Nat64Error, Nat64Prefix, TEREDO, embedded, in_v6};
pub use fields::{EvenPort, Fields, Unknown};
pub use framing::{Extent, Framing, FramingError, MAX_FRAME_BYTES, Prefixed, Splitter, TurnStream};
pub use secret::{secret_id, user_id};
pub use username::Username;
