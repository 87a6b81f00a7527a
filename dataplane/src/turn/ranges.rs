//! Special-purpose address ranges, which are not on the public internet.
//!
//! From IANA's registries of special-purpose addresses (RFC 6890), with multicast and unassigned ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use spillway_wire::turn::{NAT64, TEREDO, in_v6};

/// A range of addresses, `address/prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    prefix: u8,
}

/// Reason why a text is not an address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is not an address.
    #[error("`{0}` is not an address range such as 192.0.2.0/24")]
    Shape(String),
    /// The prefix is longer than the address.
    #[error("prefix {prefix} of `{text}` is longer than {limit} bits")]
    Prefix {
        /// The whole text of the range.
        text: String,
        /// The prefix length in the text.
        prefix: u8,
        /// Maximum prefix length of the address family.
        limit: u8,
    },
}

/// IPv4 ranges that are not forwarded, not global, or not addresses of one host.
const SPECIAL_V4: [(Ipv4Addr, u8); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by carriers' customers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, and clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24), // AMT
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(192, 175, 48, 0), 24), // AS112
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

/// Special-purpose ranges inside the assigned IPv6 space (2000::/3). For IPv6 addresses outside of this list that embed
/// an IPv4 address, the IPv4 address decides.
const SPECIAL_V6: [(Ipv6Addr, u8); 5] = [
    (v6(0x2001, 0), 23), // protocol assignments: benchmarking, ORCHID, and Teredo below
    (v6(0x2001, 0x0db8), 32), // documentation
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (v6(0x3fff, 0), 20), // documentation
    (v6(0x3ffe, 0), 16), // 6bone, returned
];
const GLOBAL_V6: (Ipv6Addr, u8) = (v6(0x2000, 0), 3);

impl Cidr {
    /// The addresses that share their first `prefix` bits with `ip`.
    pub(super) fn new(ip: IpAddr, prefix: u8) -> Self {
        Self { ip, prefix }
    }

    /// True when `ip` is in this range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => in_v4(ip, (net, self.prefix)),
            (IpAddr::V6(net), IpAddr::V6(ip)) => in_v6(ip, (net, self.prefix)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// An address without a prefix is a range of one address.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let shape = || CidrError::Shape(text.into());
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().map_err(|_| shape())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| shape())?;
        let limit = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(limit);
        if prefix > limit {
            return Err(CidrError::Prefix {
                text: text.into(),
                prefix,
                limit,
            });
        }
        Ok(Self { ip, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// True when `ip` is not an address of one host on the public internet. The caller must check embedded addresses
/// ([`spillway_wire::turn::embedded`]).
pub(super) fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPECIAL_V4.iter().any(|&range| in_v4(ip, range)),
        IpAddr::V6(ip) if in_v6(ip, TEREDO) || in_v6(ip, NAT64) => false,
        IpAddr::V6(ip) => !in_v6(ip, GLOBAL_V6) || SPECIAL_V6.iter().any(|&range| in_v6(ip, range)),
    }
}

const fn v6(first: u16, second: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)
}

fn in_v4(ip: Ipv4Addr, (net, prefix): (Ipv4Addr, u8)) -> bool {
    let different = u32::from(ip) ^ u32::from(net);
    different.leading_zeros() >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_hold_what_they_say() {
        let range: Cidr = "198.51.100.128/25".parse().unwrap();
        assert!(range.contains("198.51.100.200".parse().unwrap()));
        assert!(!range.contains("198.51.100.127".parse().unwrap()));
        assert!(!range.contains("::c633:64c8".parse().unwrap()));
        assert_eq!(range.to_string(), "198.51.100.128/25");
        let host: Cidr = "2001:db8::1".parse().unwrap();
        assert!(host.contains("2001:db8::1".parse().unwrap()));
        assert!(!host.contains("2001:db8::2".parse().unwrap()));
        assert!(
            "0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains("9.9.9.9".parse().unwrap())
        );
        for wrong in [
            "",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/8/8",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
