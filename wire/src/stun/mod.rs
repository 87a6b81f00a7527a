//! STUN (RFC 8489): checked views of received messages, and a writer.
//!
//! Nothing here allocates, except in a caller's buffer that is too small. The caller provides the password of a
//! message; this module only verifies it.

mod kind; // method and class of a message
mod transaction; // transaction ids
mod message; // checked view of a message
mod attribute; // attributes
mod write; // writer of messages
mod integrity; // keys, HMACs and FINGERPRINT

pub use attribute::{Address, Family, kinds, xor_address};
pub(crate) use integrity::hmac_sha256;
pub use integrity::{Fingerprint, Key, fingerprint};
pub use kind::{Class, Method};
pub use message::{Attribute, BINDING_REQUEST, Integrity, Message, StunError};
pub use transaction::TransactionId;
pub use write::Writer;

/// Bytes of a message header (RFC 8489 section 5).
pub const HEADER_BYTES: usize = 20;
/// Bytes of the HMAC in MESSAGE-INTEGRITY (RFC 8489 section 14.5).
pub const SHA1_BYTES: usize = 20;
/// Bytes of the HMAC in MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6); it must not be truncated in TURN.
pub const SHA256_BYTES: usize = 32;
/// Magic cookie, which distinguishes STUN from RFC 3489 (RFC 8489 section 5).
const MAGIC_COOKIE: u32 = 0x2112_a442;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
