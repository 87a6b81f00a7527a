//! STUN (RFC 8489): checked views of received messages, and a writer.
//!
//! Nothing here allocates, except in a caller's buffer that is too small. The caller finds the password of a message;
//! this module only checks it.

mod kind; // method and class of a message
mod transaction; // transaction ids
mod message; // checked view of a message
mod attribute; // attributes
mod write; // writer of messages
mod integrity; // keys, HMACs and the checksum

pub use attribute::{Address, Family, kinds, xor_address};
pub(crate) use integrity::hmac_sha256;
pub use integrity::{Fingerprint, Key, fingerprint};
pub use kind::{Class, Method};
pub use message::{Attribute, BINDING_REQUEST, Integrity, Message, StunError};
pub use transaction::TransactionId;
pub use write::Writer;

/// Bytes before the attributes (RFC 8489 section 5).
pub const HEADER_BYTES: usize = 20;
/// Bytes of the HMAC in MESSAGE-INTEGRITY (section 14.5).
pub const SHA1_BYTES: usize = 20;
/// Bytes of the HMAC in MESSAGE-INTEGRITY-SHA256 (section 14.6), which may not be cut in TURN.
pub const SHA256_BYTES: usize = 32;
/// Distinguishes STUN from its predecessor (section 5).
const MAGIC_COOKIE: u32 = 0x2112_a442;

#[cfg(test)]
mod tests;
