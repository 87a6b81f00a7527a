//! The transaction id of a STUN message (RFC 8489 section 5).

/// What answers repeat, so that they find their request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionId(pub [u8; 12]);
