//! Alias addresses: the addresses by which sessions know clients of streams.
//!
//! Tables and sessions identify clients by IP address and port. The real address of a stream would be ambiguous: behind
//! one NAT a stream and the datagrams of another client can have the same address, and a client must not get another
//! client's datagrams. So each stream has an alias address from an unused range. The alias also contains the shard of
//! the stream, so no shard needs a table of other shards' streams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::id::{INDEX_BITS, index_of};
use crate::key::ShardId;
use crate::limits::{MAX_SHARDS, MAX_STREAMS};
use crate::turn::StreamId;

/// The shard and stream of an alias address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// Shard that has the stream.
    pub shard: ShardId,
    /// The stream on the shard.
    pub stream: ShortId,
}

/// A shortened stream id: the slot of the stream, and the low bits of its serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortId(u64);

const PLACE_BITS: u32 = 14;
/// Bits of the serial number in a short id: an id of a slot is used again after four million streams.
const NUMBER_BITS: u32 = 22;
const SHORT_BITS: u32 = PLACE_BITS + NUMBER_BITS;
/// Number of low bits of the port that are part of the alias. The highest bit is always set, so the port is never 0.
const PORT_BITS: u32 = 15;
const PORT_MARK: u16 = 1 << PORT_BITS;
const IP_BITS: u32 = 27;
/// Range of IPv4 aliases: 240.0.0.0/5, "reserved for future use" (RFC 1112 section 4).
const RANGE_V4: u32 = 0xf000_0000;
/// Range of IPv6 aliases: 100::/64, the discard prefix (RFC 6666).
const RANGE_V6: u128 = 0x0100 << 112;

const _: () = assert!(MAX_STREAMS <= 1 << PLACE_BITS);
const _: () = assert!((MAX_SHARDS as u64) << SHORT_BITS <= 1 << (IP_BITS + PORT_BITS));

impl ShortId {
    pub(super) fn of(stream: StreamId) -> Self {
        let number = (stream.0 >> INDEX_BITS) & ((1 << NUMBER_BITS) - 1);
        Self(number << PLACE_BITS | index_of(stream) as u64)
    }

    /// Index of the stream's slot.
    pub(super) fn index(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

impl Alias {
    /// The alias of `stream` on `shard`.
    pub fn new(shard: ShardId, stream: StreamId) -> Self {
        Self {
            shard,
            stream: ShortId::of(stream),
        }
    }

    /// The alias as an address. It has the address family of `remote`, so that the session answers from the right local
    /// address.
    pub fn address(self, remote: SocketAddr) -> SocketAddr {
        let code = u64::from(self.shard.0) << SHORT_BITS | self.stream.0;
        let host = (code >> PORT_BITS) as u32;
        let ip: IpAddr = match remote.ip().to_canonical() {
            IpAddr::V4(_) => Ipv4Addr::from(RANGE_V4 | host).into(),
            IpAddr::V6(_) => Ipv6Addr::from(RANGE_V6 | u128::from(host)).into(),
        };
        SocketAddr::new(ip, PORT_MARK | code as u16)
    }

    /// The alias that `address` contains; `None` for other addresses.
    pub fn of(address: SocketAddr) -> Option<Self> {
        let host = match address.ip() {
            IpAddr::V4(ip) => u32::from(ip) ^ RANGE_V4,
            IpAddr::V6(ip) => u32::try_from(u128::from(ip) ^ RANGE_V6).ok()?,
        };
        if host >> IP_BITS != 0 || address.port() & PORT_MARK == 0 {
            return None;
        }
        let code = u64::from(host) << PORT_BITS | u64::from(address.port() ^ PORT_MARK);
        Some(Self {
            shard: ShardId((code >> SHORT_BITS) as u16),
            stream: ShortId(code & ((1 << SHORT_BITS) - 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::id::id_of;

    #[test]
    fn an_address_says_which_stream_of_which_shard_it_is() {
        let mut seen = std::collections::HashSet::new();
        for remote in ["192.0.2.1:5", "[2001:db8::1]:5", "[::ffff:192.0.2.1]:5"] {
            let remote: SocketAddr = remote.parse().unwrap();
            for shard in [0, 1, 63] {
                for (serial, index) in [(0, 0), (1, 0), (1, 16_383), (0x3f_ffff, 16_383), (77, 4)] {
                    let alias = Alias::new(ShardId(shard), id_of(serial, index));
                    let address = alias.address(remote);
                    assert_eq!(Alias::of(address), Some(alias), "{address}");
                    assert_eq!(alias.stream.index(), index);
                    assert_eq!(address.is_ipv4(), remote.ip().to_canonical().is_ipv4());
                    assert_ne!(address.ip(), Ipv4Addr::BROADCAST);
                    assert!(seen.insert((address, remote)), "{address} is another's");
                }
            }
        }
    }

    #[test]
    fn addresses_of_others_are_of_no_stream() {
        for address in [
            "192.0.2.1:40000",
            "240.0.0.1:32767",
            "248.0.0.1:40000",
            "239.255.255.255:40000",
            "255.255.255.255:65535",
            "[2001:db8::1]:40000",
            "[100::800:0]:40000",
            "[100:0:0:1::1]:40000",
            "[::]:40000",
        ] {
            assert_eq!(Alias::of(address.parse().unwrap()), None, "{address}");
        }
    }
}
