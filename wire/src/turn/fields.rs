//! The attributes of a TURN request or indication, read in one pass.
//!
//! This module refuses no message: a server must answer 401 to an unauthenticated request before it may answer 420.

use std::net::SocketAddr;
use std::ops::Range;

use crate::stun::{Attribute, Family, Message, TransactionId, kinds, xor_address};

/// Attributes of a message. Of repeated attributes the first one is used (RFC 8489 section 14), except for peers.
/// Attributes behind the integrity are ignored (sections 14.5 and 14.6).
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    /// Value of USERNAME, if the attribute is present.
    pub username: Option<&'a [u8]>,
    /// Value of REALM, if the attribute is present.
    pub realm: Option<&'a [u8]>,
    /// Value of NONCE, if the attribute is present.
    pub nonce: Option<&'a [u8]>,
    /// True when MESSAGE-INTEGRITY is present.
    pub has_integrity: bool,
    /// True when MESSAGE-INTEGRITY-SHA256 is present.
    pub has_integrity_sha256: bool,
    /// Value of PASSWORD-ALGORITHM, with its parameters.
    pub password_algorithm: Option<&'a [u8]>,
    /// Value of PASSWORD-ALGORITHMS, not decoded.
    pub password_algorithms: Option<&'a [u8]>,
    /// Value of LIFETIME in seconds.
    pub lifetime_s: Option<u32>,
    /// Protocol number in REQUESTED-TRANSPORT; 17 is UDP.
    pub transport: Option<u8>,
    /// REQUESTED-ADDRESS-FAMILY; `Some(None)` when its family is unknown.
    pub family: Option<Option<Family>>,
    /// ADDITIONAL-ADDRESS-FAMILY; `Some(None)` when its family is unknown.
    pub additional_family: Option<Option<Family>>,
    /// EVEN-PORT, if the attribute is present.
    pub even_port: Option<EvenPort>,
    /// True when RESERVATION-TOKEN is present.
    pub has_reservation_token: bool,
    /// True when DONT-FRAGMENT is present.
    pub dont_fragment: bool,
    /// CHANNEL-NUMBER, of any value.
    pub channel: Option<u16>,
    /// Address of the first XOR-PEER-ADDRESS.
    pub peer: Option<SocketAddr>,
    /// Range of the value of DATA in the message.
    pub data: Option<Range<usize>>,
    /// Comprehension-required attributes that are not supported.
    pub unknown: Unknown,
    /// The first attribute with a malformed value.
    pub malformed: Option<u16>,
    /// End of the attributes that are used.
    end: usize,
}

/// Value of EVEN-PORT (RFC 8656 section 18.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvenPort {
    /// The relayed port must be even.
    Alone,
    /// The port must be even, and the next one is reserved.
    WithNext,
}

/// Types of unsupported attributes: as many as a response can list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unknown {
    kinds: [u16; Self::MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    /// Reads the fields of a TURN request from `message`.
    pub fn read(message: &Message<'a>) -> Self {
        let mut fields = Self {
            end: message.bytes().len(),
            ..Self::default()
        };
        let transaction = message.transaction();
        for attribute in message.attributes() {
            match attribute.kind {
                kinds::MESSAGE_INTEGRITY if !fields.has_integrity_sha256 => {
                    fields.has_integrity = true;
                    fields.end = fields.end.min(attribute.at);
                }
                kinds::MESSAGE_INTEGRITY_SHA256 => {
                    fields.has_integrity_sha256 = true;
                    fields.end = fields.end.min(attribute.at);
                }
                _ if attribute.at < fields.end => fields.take(&attribute, &transaction),
                _ => {} // RFC 8489 section 14.5: attributes behind the integrity are ignored
            }
        }
        fields
    }

    /// All peers (XOR-PEER-ADDRESS) of `message`, from which these fields were read; `None` for an invalid value.
    pub fn peers<'m>(
        &self,
        message: &Message<'m>,
    ) -> impl Iterator<Item = Option<SocketAddr>> + use<'m> {
        let (end, transaction) = (self.end, message.transaction());
        message
            .attributes()
            .take_while(move |attribute| attribute.at < end)
            .filter(|attribute| attribute.kind == kinds::XOR_PEER_ADDRESS)
            .map(move |attribute| xor_address(attribute.value, &transaction))
    }

    fn take(&mut self, attribute: &Attribute<'a>, transaction: &TransactionId) {
        let value = attribute.value;
        let understood = match attribute.kind {
            kinds::USERNAME => first(&mut self.username, Some(value)),
            kinds::REALM => first(&mut self.realm, Some(value)),
            kinds::NONCE => first(&mut self.nonce, Some(value)),
            kinds::PASSWORD_ALGORITHM => first(&mut self.password_algorithm, Some(value)),
            kinds::PASSWORD_ALGORITHMS => first(&mut self.password_algorithms, Some(value)),
            kinds::LIFETIME => {
                let seconds = value.try_into().ok().map(u32::from_be_bytes);
                first(&mut self.lifetime_s, seconds)
            }
            kinds::REQUESTED_TRANSPORT => first(&mut self.transport, first_of_four(value)),
            kinds::REQUESTED_ADDRESS_FAMILY => first(&mut self.family, family(value)),
            kinds::ADDITIONAL_ADDRESS_FAMILY => first(&mut self.additional_family, family(value)),
            kinds::EVEN_PORT => first(&mut self.even_port, even_port(value)),
            kinds::RESERVATION_TOKEN => {
                self.has_reservation_token = true;
                value.len() == 8
            }
            kinds::DONT_FRAGMENT => {
                self.dont_fragment = true;
                value.is_empty()
            }
            kinds::CHANNEL_NUMBER => {
                let number = <[u8; 4]>::try_from(value).ok();
                let number = number.map(|[high, low, ..]| u16::from_be_bytes([high, low]));
                first(&mut self.channel, number)
            }
            kinds::XOR_PEER_ADDRESS => first(&mut self.peer, xor_address(value, transaction)),
            kinds::DATA => {
                let start = attribute.at + 4;
                first(&mut self.data, Some(start..start + value.len()))
            }
            // Not meaningful in a client's message, but ignored.
            kinds::MAPPED_ADDRESS
            | kinds::ERROR_CODE
            | kinds::UNKNOWN_ATTRIBUTES
            | kinds::XOR_RELAYED_ADDRESS
            | kinds::XOR_MAPPED_ADDRESS => true,
            unknown => {
                // RFC 8489 section 14: types from 0x8000 on may be ignored.
                if unknown < 0x8000 {
                    self.unknown.push(unknown);
                }
                true
            }
        };
        if !understood {
            self.malformed.get_or_insert(attribute.kind);
        }
    }
}

impl Unknown {
    /// Maximum number of listed types.
    pub const MAX: usize = 8;

    /// True when all attributes are supported.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of UNKNOWN-ATTRIBUTES (RFC 8489 section 14.13), and its length in bytes.
    pub fn value(&self) -> ([u8; Self::MAX * 2], usize) {
        let mut value = [0; Self::MAX * 2];
        for (bytes, kind) in value.chunks_exact_mut(2).zip(self.kinds) {
            bytes.copy_from_slice(&kind.to_be_bytes());
        }
        (value, self.count * 2)
    }

    fn push(&mut self, kind: u16) {
        if self.count < Self::MAX && !self.kinds[..self.count].contains(&kind) {
            self.kinds[self.count] = kind;
            self.count += 1;
        }
    }
}

/// Sets `field` if it is empty. False when `value` is `None`, because it is malformed.
fn first<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let Some(value) = value else {
        return false;
    };
    field.get_or_insert(value);
    true
}

/// Reads a value with one byte and three reserved bytes.
fn first_of_four(value: &[u8]) -> Option<u8> {
    <[u8; 4]>::try_from(value).ok().map(|[first, ..]| first)
}

fn family(value: &[u8]) -> Option<Option<Family>> {
    first_of_four(value).map(Family::from_number)
}

fn even_port(value: &[u8]) -> Option<EvenPort> {
    let [bits] = value.try_into().ok()?;
    let bits: u8 = bits;
    Some(match bits & 0x80 {
        0 => EvenPort::Alone,
        _ => EvenPort::WithNext,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Class, Method, Writer};

    fn message(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        let kind = Method::Allocate.kind(Class::Request);
        write(&mut Writer::new(&mut out, kind, TransactionId([5; 12])));
        out
    }

    #[test]
    fn the_first_of_several_counts_but_all_peers_do() {
        let peers: [SocketAddr; 2] =
            ["192.0.2.1:1", "192.0.2.2:2"].map(|peer| peer.parse().unwrap());
        let bytes = message(|writer| {
            writer
                .number(kinds::LIFETIME, 1)
                .number(kinds::LIFETIME, 2)
                .xor_address(kinds::XOR_PEER_ADDRESS, peers[0])
                .xor_address(kinds::XOR_PEER_ADDRESS, peers[1])
                .attribute(kinds::XOR_PEER_ADDRESS, b"no")
                .attribute(kinds::DATA, b"abc");
        });
        let message = Message::parse(&bytes).unwrap();
        let fields = Fields::read(&message);
        assert_eq!(fields.lifetime_s, Some(1));
        assert_eq!(fields.peer, Some(peers[0]));
        let all: Vec<_> = fields.peers(&message).collect();
        assert_eq!(all, [Some(peers[0]), Some(peers[1]), None]);
        assert_eq!(&bytes[fields.data.clone().unwrap()], b"abc");
        assert_eq!(fields.malformed, Some(kinds::XOR_PEER_ADDRESS));
    }

    #[test]
    fn what_follows_the_integrity_is_not_there() {
        let peer = "192.0.2.1:1".parse().unwrap();
        let bytes = message(|writer| {
            writer
                .attribute(kinds::USERNAME, b"me")
                .integrity_sha1(b"key")
                .attribute(kinds::USERNAME, b"you")
                .number(kinds::LIFETIME, 7)
                .xor_address(kinds::XOR_PEER_ADDRESS, peer)
                .attribute(0x7777, b"")
                .integrity_sha256(b"key");
        });
        let message = Message::parse(&bytes).unwrap();
        let fields = Fields::read(&message);
        assert_eq!(fields.username, Some(&b"me"[..]));
        assert!(fields.has_integrity && fields.has_integrity_sha256);
        assert_eq!((fields.lifetime_s, fields.peer), (None, None));
        assert_eq!(fields.peers(&message).count(), 0);
        assert!(fields.unknown.is_empty());
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named_once() {
        let bytes = message(|writer| {
            writer.attribute(0x8abc, b"may be ignored");
            for kind in [0x7001, 0x7001, 0x001e] {
                writer.attribute(kind, b"");
            }
            for kind in 0x7100..0x7200 {
                writer.attribute(kind, b"");
            }
        });
        let fields = Fields::read(&Message::parse(&bytes).unwrap());
        let (value, length) = fields.unknown.value();
        assert_eq!(length, 2 * Unknown::MAX);
        assert_eq!(value[..6], [0x70, 0x01, 0x00, 0x1e, 0x71, 0x00]);
    }

    #[test]
    fn values_of_the_wrong_size_are_named() {
        for kind in [
            kinds::LIFETIME,
            kinds::REQUESTED_TRANSPORT,
            kinds::REQUESTED_ADDRESS_FAMILY,
            kinds::ADDITIONAL_ADDRESS_FAMILY,
            kinds::EVEN_PORT,
            kinds::RESERVATION_TOKEN,
            kinds::DONT_FRAGMENT,
            kinds::CHANNEL_NUMBER,
            kinds::XOR_PEER_ADDRESS,
        ] {
            let bytes = message(|writer| {
                writer.attribute(kind, b"abcde");
            });
            let fields = Fields::read(&Message::parse(&bytes).unwrap());
            assert_eq!(fields.malformed, Some(kind));
        }
    }
}
