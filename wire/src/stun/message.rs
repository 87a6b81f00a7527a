//! STUN messages as checked views over a datagram (RFC 8489 section 5).
//!
//! Reads what ICE needs to find a session, and the bytes that each integrity attribute protects.
//! [`crate::turn::Fields`] reads the attributes of TURN.

use super::attribute::kinds;
use super::transaction::TransactionId;
use super::{HEADER_BYTES, MAGIC_COOKIE, SHA1_BYTES, SHA256_BYTES};

/// A STUN message with checked framing.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

/// Reason why a datagram is not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// The datagram is shorter than a STUN header.
    #[error("stun message of {0} bytes is shorter than its header of 20")]
    Short(usize),
    /// The first two bits are not zero, or the magic cookie is wrong.
    #[error("magic cookie {0:#010x} is not 0x2112a442")]
    NotStun(u32),
    /// The length field does not match the datagram, or is not a multiple of four.
    #[error("length field says {said} bytes, the message has {got}")]
    Length {
        /// Length in the header, in bytes.
        said: usize,
        /// Bytes that follow the header.
        got: usize,
    },
    /// An attribute exceeds the message.
    #[error("attribute {kind:#06x} at byte {at} reaches past the end")]
    Attribute {
        /// Type of the attribute.
        kind: u16,
        /// Offset of its header in the message.
        at: usize,
    },
}

/// One attribute of a message, not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Type of the attribute.
    pub kind: u16,
    /// Value of the attribute without padding.
    pub value: &'a [u8],
    /// Offset of the attribute header in the message.
    pub at: usize,
}

/// The bytes that a MESSAGE-INTEGRITY attribute with an HMAC of `N` bytes protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrity<'a, const N: usize = SHA1_BYTES> {
    /// The message header, with the length field as if the message ended with this attribute.
    pub header: [u8; HEADER_BYTES],
    /// All attributes before the integrity attribute.
    pub attributes: &'a [u8],
    /// The HMAC in the attribute.
    pub mac: &'a [u8; N],
}

/// Binding request (RFC 8489 section 3): class request, method binding.
pub const BINDING_REQUEST: u16 = 0x0001;

impl<'a> Message<'a> {
    /// Checks the framing of the whole message, so that later reads cannot fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let Some((header, attributes)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(StunError::Short(bytes.len()));
        };
        let cookie = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if cookie != MAGIC_COOKIE || header[0] & 0xc0 != 0 {
            return Err(StunError::NotStun(cookie));
        }
        let said = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if said != attributes.len() || !said.is_multiple_of(4) {
            return Err(StunError::Length {
                said,
                got: attributes.len(),
            });
        }
        let message = Self { bytes };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let (attribute, next) = message.attribute_at(at)?;
            debug_assert!(attribute.at < next);
            at = next;
        }
        Ok(message)
    }

    /// All bytes of the message, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Transaction id; a response has that of its request.
    pub fn transaction(&self) -> TransactionId {
        let id = self.bytes[8..HEADER_BYTES].try_into();
        TransactionId(id.expect("parse checked the header"))
    }

    /// Class and method as one number.
    pub fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// True for Binding requests, such as the connectivity checks of ICE.
    pub fn is_binding_request(&self) -> bool {
        self.kind() == BINDING_REQUEST
    }

    /// All attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let message = *self;
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            if at >= message.bytes.len() {
                return None;
            }
            let (attribute, next) = message.attribute_at(at).ok()?;
            at = next;
            Some(attribute)
        })
    }

    /// The value of USERNAME.
    pub fn username(&self) -> Option<&'a str> {
        let attribute = self.find(kinds::USERNAME)?;
        std::str::from_utf8(attribute.value).ok()
    }

    /// The part of an ICE USERNAME before the colon, which is the receiver's ufrag (RFC 8445 section 7.2.2).
    pub fn receiver_ufrag(&self) -> Option<&'a str> {
        self.username()?
            .split_once(':')
            .map(|(receiver, _)| receiver)
    }

    /// True when USE-CANDIDATE (RFC 8445 section 7.1.2) is present and protected by MESSAGE-INTEGRITY.
    pub fn has_use_candidate(&self) -> bool {
        self.find_protected(kinds::USE_CANDIDATE).is_some()
    }

    /// Input of MESSAGE-INTEGRITY; `None` if it is absent or has a wrong size.
    pub fn integrity(&self) -> Option<Integrity<'a>> {
        self.integrity_of(kinds::MESSAGE_INTEGRITY)
    }

    /// Input of MESSAGE-INTEGRITY-SHA256; `None` if it is absent or truncated.
    pub fn integrity_sha256(&self) -> Option<Integrity<'a, SHA256_BYTES>> {
        self.integrity_of(kinds::MESSAGE_INTEGRITY_SHA256)
    }

    /// The first attribute of `kind` before MESSAGE-INTEGRITY. Later ones are ignored (RFC 8489 section 14.5).
    pub fn find_protected(&self, kind: u16) -> Option<Attribute<'a>> {
        let end = self.find(kinds::MESSAGE_INTEGRITY)?.at;
        self.find(kind).filter(|attribute| attribute.at < end)
    }

    /// The first attribute of `kind`.
    pub fn find(&self, kind: u16) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    fn integrity_of<const N: usize>(&self, kind: u16) -> Option<Integrity<'a, N>> {
        let attribute = self.find(kind)?;
        let mac = attribute.value.try_into().ok()?;
        let mut header: [u8; HEADER_BYTES] = self.bytes[..HEADER_BYTES]
            .try_into()
            .expect("parse checked the header");
        // RFC 8489 section 14.5: the length field covers everything up to and including this attribute.
        let length = attribute.at + 4 + N - HEADER_BYTES;
        let length = u16::try_from(length).expect("the length field bounds the message");
        header[2..4].copy_from_slice(&length.to_be_bytes());
        Some(Integrity {
            header,
            attributes: &self.bytes[HEADER_BYTES..attribute.at],
            mac,
        })
    }

    fn attribute_at(&self, at: usize) -> Result<(Attribute<'a>, usize), StunError> {
        let rest = &self.bytes[at..];
        let Some((header, rest)) = rest.split_first_chunk::<4>() else {
            return Err(StunError::Attribute { kind: 0, at });
        };
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let padded = length.next_multiple_of(4);
        if rest.len() < padded {
            return Err(StunError::Attribute { kind, at });
        }
        Ok((
            Attribute {
                kind,
                value: &rest[..length],
                at,
            },
            at + 4 + padded,
        ))
    }
}
