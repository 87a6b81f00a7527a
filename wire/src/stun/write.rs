//! Writes messages into a caller's buffer, attribute by attribute.
//!
//! The length field is correct after each step, so a message can end anywhere.

use std::net::SocketAddr;

use super::attribute::{Address, kinds};
use super::transaction::TransactionId;
use super::{HEADER_BYTES, MAGIC_COOKIE};
use super::{SHA1_BYTES, SHA256_BYTES, integrity};

/// Appends one message to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'a> Writer<'a> {
    /// Starts a message of `kind` behind the content of `out`.
    pub fn new(out: &'a mut Vec<u8>, kind: u16, transaction: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction.0);
        Self {
            out,
            start,
            transaction,
        }
    }

    /// Appends an attribute. Panics when the message becomes longer than 64 KiB, the limit of its length field.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute_header(kind, value.len());
        self.out.extend_from_slice(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.out.extend_from_slice(&[0; 3][..padding]);
        self
    }

    /// Appends an attribute with a number.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an attribute with an XORed address (RFC 8489 section 14.2).
    pub fn xor_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let address = Address::xor(address, &self.transaction);
        self.attribute(kind, address.value())
    }

    /// Appends ERROR-CODE (RFC 8489 section 14.8): `code` is in 300..=699, `reason` is text for people.
    pub fn error(&mut self, code: u16, reason: &str) -> &mut Self {
        self.attribute_header(kinds::ERROR_CODE, 4 + reason.len());
        let class = u8::try_from(code / 100).expect("error codes are below 700");
        self.out
            .extend_from_slice(&[0, 0, class, (code % 100) as u8]);
        self.out.extend_from_slice(reason.as_bytes());
        let padding = reason.len().next_multiple_of(4) - reason.len();
        self.out.extend_from_slice(&[0; 3][..padding]);
        self
    }

    /// Appends MESSAGE-INTEGRITY (RFC 8489 section 14.5) over the message so far.
    pub fn integrity_sha1(&mut self, key: &[u8]) -> &mut Self {
        self.attribute_header(kinds::MESSAGE_INTEGRITY, SHA1_BYTES);
        let covered = &self.out[self.start..self.out.len() - 4];
        let mac = integrity::hmac_sha1(key, &[covered]);
        self.out.extend_from_slice(&mac);
        self
    }

    /// Appends MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6) over the message so far.
    pub fn integrity_sha256(&mut self, key: &[u8]) -> &mut Self {
        self.attribute_header(kinds::MESSAGE_INTEGRITY_SHA256, SHA256_BYTES);
        let covered = &self.out[self.start..self.out.len() - 4];
        let mac = integrity::hmac_sha256(key, &[covered]);
        self.out.extend_from_slice(&mac);
        self
    }

    /// Appends FINGERPRINT (RFC 8489 section 14.7), which must be the last attribute.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.attribute_header(kinds::FINGERPRINT, 4);
        let covered = &self.out[self.start..self.out.len() - 4];
        let checksum = integrity::fingerprint(covered);
        self.out.extend_from_slice(&checksum.to_be_bytes());
        self
    }

    /// Ends the message with the header of DATA for `bytes` that the caller sends right behind it. Returns the number
    /// of padding bytes (0 to 3) behind the data.
    pub fn data_header(&mut self, bytes: usize) -> usize {
        self.attribute_header(kinds::DATA, bytes);
        bytes.next_multiple_of(4) - bytes
    }

    /// Bytes of the message so far.
    pub fn length(&self) -> usize {
        self.out.len() - self.start
    }

    /// Writes the attribute header, and sets the length of the message to include the value and its padding.
    fn attribute_header(&mut self, kind: u16, value_bytes: usize) {
        let value = u16::try_from(value_bytes).expect("a value is at most 65,535 bytes");
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&value.to_be_bytes());
        let length = self.length() - HEADER_BYTES + value_bytes.next_multiple_of(4);
        let length = u16::try_from(length).expect("a message is at most 65,535 bytes");
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Class, Message, Method, xor_address};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let transaction = TransactionId([9; 12]);
        let address: SocketAddr = "198.51.100.7:40000".parse().unwrap();
        let mut out = vec![0xff; 3];
        let kind = Method::Allocate.kind(Class::Error);
        Writer::new(&mut out, kind, transaction)
            .error(486, "quota")
            .xor_address(kinds::XOR_MAPPED_ADDRESS, address)
            .number(kinds::LIFETIME, 600)
            .attribute(kinds::SOFTWARE, b"x")
            .integrity_sha1(b"key")
            .integrity_sha256(b"key")
            .fingerprint();
        let message = Message::parse(&out[3..]).unwrap();
        assert_eq!((message.kind(), message.transaction()), (kind, transaction));
        let values: Vec<_> = message.attributes().collect();
        assert_eq!(values.len(), 7);
        assert_eq!(values[0].value, b"\0\0\x04\x56quota");
        assert_eq!(xor_address(values[1].value, &transaction), Some(address));
        assert_eq!(values[2].value, 600_u32.to_be_bytes());
        assert!(message.integrity().unwrap().fits(b"key"));
        assert!(message.integrity_sha256().unwrap().fits(b"key"));
        assert!(!message.integrity_sha256().unwrap().fits(b"yek"));
    }

    #[test]
    fn data_may_follow_from_elsewhere() {
        let mut out = Vec::new();
        let kind = Method::Data.kind(Class::Indication);
        let padding = Writer::new(&mut out, kind, TransactionId([1; 12])).data_header(5);
        out.extend(b"hello");
        out.resize(out.len() + padding, 0);
        let message = Message::parse(&out).unwrap();
        let data = message.attributes().next().unwrap();
        assert_eq!((data.kind, data.value), (kinds::DATA, &b"hello"[..]));
    }
}
