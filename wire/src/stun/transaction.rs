//! The transaction id of a STUN message (RFC 8489 section 5).

/// Transaction id, which matches a response to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionId(pub [u8; 12]);
