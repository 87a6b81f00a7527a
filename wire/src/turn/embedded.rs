//! IPv4 addresses embedded in IPv6 addresses, in every notation that a translator on the path might decode.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The well-known prefix of NAT64 and its length (RFC 6052 section 2.1).
pub const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// The prefix of Teredo (RFC 4380 section 2.6).
pub const TEREDO: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const NAT64_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
/// ::ffff:0:0:0/96 (RFC 2765 section 2.1).
const TRANSLATED: (Ipv6Addr, u8) = (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);
/// Prefix lengths of RFC 6052 section 2.2.
pub(crate) const NAT64_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];
/// Maximum number of addresses embedded in one: two by its prefix, four by the lengths of a local prefix, one in its
/// interface identifier.
pub const MAX_EMBEDDED: usize = 7;

/// A NAT64 prefix: a translator maps its IPv6 addresses to IPv4 addresses (RFC 6052).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix {
    ip: Ipv6Addr,
    length: u8,
}

/// Reason why a text is not a NAT64 prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nat64Error {
    /// The text is not an IPv6 address and a length.
    #[error("`{0}` is no IPv6 prefix such as 2001:db8:64::/96")]
    Shape(String),
    /// The length is not one of RFC 6052.
    #[error("length {length} of `{text}` is none of 32, 40, 48, 56, 64 and 96")]
    Length {
        /// The whole text of the prefix.
        text: String,
        /// The length in the text, in bits.
        length: u8,
    },
    /// Bits behind the prefix are not zero.
    #[error("`{text}` has bits beyond its {length}: the prefix is {prefix}/{length}")]
    Bits {
        /// The whole text of the prefix.
        text: String,
        /// The length in the text, in bits.
        length: u8,
        /// The prefix with these bits cleared.
        prefix: Ipv6Addr,
    },
}

impl Nat64Prefix {
    /// The IPv4 address that a translator with this prefix maps `ip` to.
    pub fn embedded(&self, ip: IpAddr) -> Option<Ipv4Addr> {
        match ip {
            IpAddr::V6(ip) if in_v6(ip, (self.ip, self.length)) => Some(behind(ip, self.length)),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        }
    }
}

impl FromStr for Nat64Prefix {
    type Err = Nat64Error;

    fn from_str(text: &str) -> Result<Self, Nat64Error> {
        let shape = || Nat64Error::Shape(text.into());
        let (ip, length) = text.split_once('/').ok_or_else(shape)?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| shape())?;
        let length: u8 = length.parse().map_err(|_| shape())?;
        if !NAT64_LENGTHS.contains(&length) {
            return Err(Nat64Error::Length {
                text: text.into(),
                length,
            });
        }
        let prefix = Ipv6Addr::from(u128::from(ip) & (u128::MAX << (128 - length)));
        if prefix != ip {
            return Err(Nat64Error::Bits {
                text: text.into(),
                length,
                prefix,
            });
        }
        Ok(Self { ip, length })
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

/// IPv4 addresses that are embedded in `ip` in notations without a configured prefix. There can be several: a 6to4
/// network may use ISATAP inside.
pub fn embedded(ip: IpAddr) -> [Option<Ipv4Addr>; MAX_EMBEDDED] {
    let mut found = [None; MAX_EMBEDDED];
    let IpAddr::V6(ip) = ip else {
        return found;
    };
    let bits = u128::from(ip);
    let last = || Ipv4Addr::from(bits as u32);
    if bits >> 32 == 0 || bits >> 32 == 0xffff || in_v6(ip, TRANSLATED) || in_v6(ip, NAT64) {
        found[0] = Some(last()); // IPv4-compatible, IPv4-mapped, IPv4-translated, NAT64
    }
    if in_v6(ip, SIX_TO_FOUR) {
        found[0] = Some(Ipv4Addr::from((bits >> 80) as u32));
    }
    if in_v6(ip, TEREDO) {
        // RFC 4380 section 4: the server, and the client with inverted bits.
        found[0] = Some(Ipv4Addr::from((bits >> 64) as u32));
        found[1] = Some(Ipv4Addr::from(!(bits as u32)));
    }
    if in_v6(ip, NAT64_LOCAL) {
        // RFC 8215: each network chooses its own prefix length.
        let lengths = NAT64_LENGTHS.iter().filter(|length| **length >= 48);
        for (slot, length) in found[2..].iter_mut().zip(lengths) {
            *slot = Some(behind(ip, *length));
        }
    }
    // RFC 5214 section 6.1: an interface identifier 0:5efe, with or without the universal bit.
    if (bits >> 32) as u32 & !0x0200_0000 == 0x5efe {
        found[MAX_EMBEDDED - 1] = Some(last());
    }
    found
}

/// True when `ip` starts with the first `length` bits of `net`.
pub fn in_v6(ip: Ipv6Addr, (net, length): (Ipv6Addr, u8)) -> bool {
    let different = u128::from(ip) ^ u128::from(net);
    different.leading_zeros() >= u32::from(length)
}

/// The IPv4 address behind a prefix of `length` bits, without bits 64 to 71, which do not belong to it (RFC 6052
/// section 2.2). These bits should be zero, but a translator might ignore them.
fn behind(ip: Ipv6Addr, length: u8) -> Ipv4Addr {
    const RESERVED: usize = 8;
    let octets = ip.octets();
    let first = usize::from(length / 8);
    let mut address = [0; 4];
    let behind = (first..octets.len()).filter(|at| *at != RESERVED);
    for (byte, at) in address.iter_mut().zip(behind) {
        *byte = octets[at];
    }
    address.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_addresses_are_found() {
        for (outer, inner) in [
            ("::127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::ffff:0:127.0.0.1", "127.0.0.1"),
            ("2002:7f00:1::9", "127.0.0.1"),
            ("64:ff9b::10.1.2.3", "10.1.2.3"),
            ("64:ff9b:1::10.1.2.3", "10.1.2.3"),
            ("64:ff9b:1:0a01:0002:0300::", "10.1.2.3"),
            ("64:ff9b:1:a:1:203::", "10.1.2.3"),
            ("64:ff9b:1:8:a:102:300:0", "10.1.2.3"),
            ("2001:0:a01:203::1", "10.1.2.3"),
            ("2001:0:808:808:0:0:f5fe:fdfc", "10.1.2.3"),
            ("2a00::5efe:10.1.2.3", "10.1.2.3"),
            ("2a00::200:5efe:10.1.2.3", "10.1.2.3"),
            ("2002:808:808::5efe:10.1.2.3", "10.1.2.3"),
            ("2002:808:808::200:5efe:10.1.2.3", "10.1.2.3"),
        ] {
            let inner: Ipv4Addr = inner.parse().unwrap();
            let found = embedded(outer.parse().unwrap());
            assert!(found.contains(&Some(inner)), "{outer}: {found:?}");
        }
        assert_eq!(embedded("2a00::1".parse().unwrap()), [None; MAX_EMBEDDED]);
        assert_eq!(embedded("10.0.0.1".parse().unwrap()), [None; MAX_EMBEDDED]);
    }

    /// The table of RFC 6052 section 2.4.
    #[test]
    fn a_networks_own_prefixes_are_decoded_as_the_standard_has_them() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let prefix: Nat64Prefix = prefix.parse().unwrap();
            let found = prefix.embedded(address.parse().unwrap());
            assert_eq!(found, Some(Ipv4Addr::new(192, 0, 2, 33)), "{prefix}");
            assert_eq!(prefix.embedded("2001:db9::1".parse().unwrap()), None);
            assert_eq!(prefix.embedded("192.0.2.33".parse().unwrap()), None);
            assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }

    #[test]
    fn whatever_stands_in_the_reserved_octet_the_address_is_the_same() {
        let prefix: Nat64Prefix = "2001:db8:122::/48".parse().unwrap();
        let found = prefix.embedded("2001:db8:122:c000:ff02:2100::".parse().unwrap());
        assert_eq!(found, Some(Ipv4Addr::new(192, 0, 2, 33)));
    }

    #[test]
    fn what_no_translator_has_is_no_prefix() {
        for (text, part) in [
            ("", "no IPv6 prefix"),
            ("2001:db8::", "no IPv6 prefix"),
            ("192.0.2.0/24", "no IPv6 prefix"),
            ("2001:db8::/x", "no IPv6 prefix"),
            ("2001:db8::/0", "length 0 of"),
            ("2001:db8::/33", "length 33 of"),
            ("2001:db8::/128", "length 128 of"),
            ("2001:db8::1/96", "the prefix is 2001:db8::/96"),
            ("2001:db8:1::/32", "the prefix is 2001:db8::/32"),
        ] {
            let error = text.parse::<Nat64Prefix>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
