//! STUN messages as checked views over a datagram (RFC 8489).
//!
//! Reads what ICE needs to find a session and to check that the sender knows its password. Checking the
//! HMAC itself is the caller's: [`Message::integrity`] says over which bytes.

/// A STUN message whose framing was checked.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

/// Why a datagram is no STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Shorter than a header.
    #[error("stun message of {0} bytes is shorter than its header of 20")]
    Short(usize),
    /// The two first bits are not zero, or the cookie is another.
    #[error("magic cookie {0:#010x} is not 0x2112a442")]
    NotStun(u32),
    /// The length field does not match the datagram, or is no multiple of four.
    #[error("length field says {said} bytes, the message has {got}")]
    Length {
        /// From the header.
        said: usize,
        /// After the header.
        got: usize,
    },
    /// An attribute reaches past the end.
    #[error("attribute {kind:#06x} at byte {at} reaches past the end")]
    Attribute {
        /// Attribute type.
        kind: u16,
        /// Offset of its header in the message.
        at: usize,
    },
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Attribute type.
    pub kind: u16,
    /// Value without padding.
    pub value: &'a [u8],
    /// Offset of the attribute header in the message.
    pub at: usize,
}

/// What a MESSAGE-INTEGRITY attribute protects, in the order the HMAC reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrity<'a> {
    /// The message header, with the length field as if the message ended at this attribute.
    pub header: [u8; HEADER_BYTES],
    /// The attributes before it.
    pub attributes: &'a [u8],
    /// The HMAC-SHA1 the sender made.
    pub mac: &'a [u8; INTEGRITY_BYTES],
}

/// Binding request (RFC 8489 section 3): class request, method binding.
pub const BINDING_REQUEST: u16 = 0x0001;
const HEADER_BYTES: usize = 20;
const INTEGRITY_BYTES: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;

impl<'a> Message<'a> {
    /// Checks the framing of the whole message, so that everything after cannot fail.
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

    /// Class and method together.
    pub fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// True for the checks that ICE agents send each other.
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
        let attribute = self
            .attributes()
            .find(|attribute| attribute.kind == USERNAME)?;
        std::str::from_utf8(attribute.value).ok()
    }

    /// The receiver's half of an ICE USERNAME, "receiver:sender" (RFC 8445 section 7.2.2).
    pub fn receiver_ufrag(&self) -> Option<&'a str> {
        self.username()?
            .split_once(':')
            .map(|(receiver, _)| receiver)
    }

    /// True when the controlling agent nominates this pair (RFC 8445 section 7.1.2).
    pub fn has_use_candidate(&self) -> bool {
        self.attributes()
            .any(|attribute| attribute.kind == USE_CANDIDATE)
    }

    /// What MESSAGE-INTEGRITY protects; `None` without it or with one of a wrong size.
    pub fn integrity(&self) -> Option<Integrity<'a>> {
        let attribute = self
            .attributes()
            .find(|attribute| attribute.kind == MESSAGE_INTEGRITY)?;
        let mac = attribute.value.try_into().ok()?;
        let mut header: [u8; HEADER_BYTES] = self.bytes[..HEADER_BYTES]
            .try_into()
            .expect("parse checked the header");
        // RFC 8489 section 14.5: the length covers up to and including MESSAGE-INTEGRITY.
        let length = attribute.at + 4 + INTEGRITY_BYTES - HEADER_BYTES;
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

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5769 section 2.1: sample request.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e740024\
        00046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5\
        b2d3f249c1b571a280280004e57a3bcf";

    fn sample() -> Vec<u8> {
        let hex: Vec<u8> = SAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.chunks(2).map(byte).collect()
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_read() {
        let bytes = sample();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_binding_request());
        assert_eq!(message.username(), Some("evtj:h6vY"));
        assert_eq!(message.receiver_ufrag(), Some("evtj"));
        assert!(!message.has_use_candidate());
        let integrity = message.integrity().unwrap();
        assert_eq!(integrity.mac[..4], [0x9a, 0xea, 0xa7, 0x0c]);
        assert_eq!(integrity.header[2..4], [0, 0x50]);
        assert_eq!(integrity.attributes.len(), 56);
    }

    #[test]
    fn lying_lengths_are_errors() {
        let bytes = sample();
        assert_eq!(
            Message::parse(&bytes[..19]).unwrap_err(),
            StunError::Short(19)
        );
        let cut = Message::parse(&bytes[..bytes.len() - 4]).unwrap_err();
        assert_eq!(cut, StunError::Length { said: 88, got: 84 });
        let mut long = bytes.clone();
        long[23] = 0xff;
        assert_eq!(
            Message::parse(&long).unwrap_err(),
            StunError::Attribute {
                kind: 0x8022,
                at: 20
            }
        );
        let mut other = bytes;
        other[4] = 0;
        assert!(matches!(Message::parse(&other), Err(StunError::NotStun(_))));
    }
}
