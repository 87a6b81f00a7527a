//! STUN attribute types, and encoding of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MAGIC_COOKIE;
use super::transaction::TransactionId;

/// Attribute types (RFC 8489 section 18.3, RFC 8656 section 18). Types below 0x8000 are comprehension-required.
#[allow(missing_docs)] // their names are the RFCs'
pub mod kinds {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const DONT_FRAGMENT: u16 = 0x001a;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// Address family (RFC 8489 section 14.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// An IPv4 address follows.
    V4 = 1,
    /// An IPv6 address follows.
    V6 = 2,
}

/// The encoded value of an address attribute.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    bytes: [u8; 20],
    length: usize,
}

impl Family {
    /// The address family of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family with this number in an attribute.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }
}

impl Address {
    /// Encodes `address` as for XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
    pub fn xor(address: SocketAddr, transaction: &TransactionId) -> Self {
        let mut bytes = [0; 20];
        bytes[1] = Family::of(address.ip()) as u8;
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        let length = match address.ip() {
            IpAddr::V4(ip) => {
                bytes[4..8].copy_from_slice(&(u32::from(ip) ^ MAGIC_COOKIE).to_be_bytes());
                8
            }
            IpAddr::V6(ip) => {
                let ip = u128::from(ip) ^ mask_v6(transaction);
                bytes[4..20].copy_from_slice(&ip.to_be_bytes());
                20
            }
        };
        Self { bytes, length }
    }

    /// The encoded value of the attribute.
    pub fn value(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Decodes a value as for XOR-MAPPED-ADDRESS (RFC 8489 section 14.2); `None` when its size does not match its family.
pub fn xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high, low]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip: IpAddr = match Family::from_number(family)? {
        Family::V4 => {
            let ip = u32::from_be_bytes(ip.try_into().ok()?);
            Ipv4Addr::from(ip ^ MAGIC_COOKIE).into()
        }
        Family::V6 => {
            let ip = u128::from_be_bytes(ip.try_into().ok()?);
            Ipv6Addr::from(ip ^ mask_v6(transaction)).into()
        }
    };
    Some(SocketAddr::new(ip, port))
}

fn mask_v6(transaction: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&transaction.0);
    u128::from_be_bytes(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_disguise() {
        let transaction = TransactionId([7; 12]);
        for address in [
            "192.0.2.1:32853",
            "[2001:db8:1234:5678:11:2233:4455:6677]:1",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let written = Address::xor(address, &transaction);
            assert_eq!(xor_address(written.value(), &transaction), Some(address));
            let plain = written
                .value()
                .windows(2)
                .position(|pair| pair == address.port().to_be_bytes());
            assert_eq!(plain, None, "a gateway would find it");
        }
    }

    #[test]
    fn an_address_of_the_wrong_size_is_none() {
        let transaction = TransactionId([7; 12]);
        let v6 = Address::xor("[::1]:1".parse().unwrap(), &transaction);
        for end in 0..20 {
            assert_eq!(xor_address(&v6.value()[..end], &transaction), None);
        }
        let mut v4 = Address::xor("192.0.2.1:1".parse().unwrap(), &transaction);
        v4.bytes[1] = 3;
        assert_eq!(xor_address(v4.value(), &transaction), None);
    }
}
