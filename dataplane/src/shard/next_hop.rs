//! Addresses reached through TURN, a TCP stream or another shard, instead of a datagram from the media port.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::key::ShardId;
use crate::limits::MAX_FOREIGN_ADDRESSES;
use crate::stream::{Alias, ShortId};

/// How datagrams to an address leave this shard, if not through a media socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// The TURN server of this shard, which relays the address.
    Relay,
    /// This stream of this shard.
    Stream(ShortId),
    /// Another shard, which has the stream or the TURN allocation.
    Shard(ShardId),
}

/// The shard with the TURN client of a relayed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// The client of the relayed address is on this shard.
    Here,
    /// The client of the relayed address is on another shard.
    By(ShardId),
}

/// Next hops by address. An address without an entry is reached through the media socket. The address of a stream
/// contains its shard and stream, so it has no entry. Relayed addresses have entries: on the shard of the TURN client
/// while the allocation lasts, on other shards while a session there receives from the address.
#[derive(Debug, Default)]
pub struct NextHops {
    relayed: HashMap<SocketAddr, Relayed>,
    /// Number of entries of other shards.
    away: usize,
}

impl NextHops {
    /// Sets the next hop of the relayed address `addr`. False when `MAX_FOREIGN_ADDRESSES` addresses of other shards
    /// are known.
    pub fn insert(&mut self, addr: SocketAddr, relayed: Relayed) -> bool {
        let is_away = matches!(relayed, Relayed::By(_));
        let was_away = matches!(self.relayed.get(&addr), Some(Relayed::By(_)));
        if is_away && !was_away && self.away >= MAX_FOREIGN_ADDRESSES {
            return false;
        }
        self.relayed.insert(addr, relayed);
        self.away = self.away + usize::from(is_away) - usize::from(was_away);
        true
    }

    /// The allocation of relayed address `addr` has ended.
    pub fn remove(&mut self, addr: SocketAddr) {
        if let Some(Relayed::By(_)) = self.relayed.remove(&addr) {
            self.away -= 1;
        }
    }

    /// No session of this shard receives from `addr` any more. Removes the entry if the allocation is on another shard.
    pub fn forget(&mut self, addr: SocketAddr) {
        if let Some(Relayed::By(_)) = self.relayed.get(&addr) {
            self.remove(addr);
        }
    }

    /// The next hop from shard `here` to `addr`; `None` for the media socket.
    pub fn to(&self, addr: SocketAddr, here: ShardId) -> Option<NextHop> {
        if let Some(alias) = Alias::of(addr) {
            return Some(match alias.shard == here {
                true => NextHop::Stream(alias.stream),
                false => NextHop::Shard(alias.shard),
            });
        }
        if self.relayed.is_empty() {
            return None;
        }
        self.relayed.get(&addr).map(|relayed| match relayed {
            Relayed::Here => NextHop::Relay,
            Relayed::By(shard) => NextHop::Shard(*shard),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::StreamId;

    const HERE: ShardId = ShardId(0);

    fn addr(index: usize) -> SocketAddr {
        let index = u32::try_from(index).unwrap();
        SocketAddr::new(std::net::Ipv4Addr::from(index).into(), 9)
    }

    #[test]
    fn next_hops_to_other_shards_are_bounded_and_local_ones_are_not() {
        let mut next_hops = NextHops::default();
        for index in 0..MAX_FOREIGN_ADDRESSES {
            assert!(next_hops.insert(addr(index), Relayed::By(ShardId(1))));
        }
        let one_more = addr(MAX_FOREIGN_ADDRESSES);
        assert!(!next_hops.insert(one_more, Relayed::By(ShardId(1))));
        assert!(next_hops.insert(addr(0), Relayed::By(ShardId(2))), "known");
        assert!(next_hops.insert(one_more, Relayed::Here));
        assert!(next_hops.insert(addr(1), Relayed::Here), "it came here");
        assert!(next_hops.insert(addr(MAX_FOREIGN_ADDRESSES + 1), Relayed::By(ShardId(1))));
        next_hops.remove(one_more);
        assert_eq!(next_hops.to(one_more, HERE), None);
        assert_eq!(
            next_hops.to(addr(0), HERE),
            Some(NextHop::Shard(ShardId(2)))
        );
    }

    #[test]
    fn the_end_of_a_session_removes_next_hops_to_other_shards_and_no_allocation() {
        let mut next_hops = NextHops::default();
        next_hops.insert(addr(1), Relayed::Here);
        next_hops.insert(addr(2), Relayed::By(ShardId(3)));
        (0..4).for_each(|index| next_hops.forget(addr(index)));
        assert_eq!(next_hops.to(addr(1), HERE), Some(NextHop::Relay));
        assert_eq!(next_hops.to(addr(2), HERE), None);
        assert_eq!(next_hops.away, 0);
    }

    #[test]
    fn the_next_hop_of_a_stream_is_in_its_address() {
        let next_hops = NextHops::default();
        let alias = Alias::new(HERE, StreamId(5));
        let address = alias.address(addr(1));
        assert_eq!(
            next_hops.to(address, HERE),
            Some(NextHop::Stream(alias.stream))
        );
        assert_eq!(
            next_hops.to(address, ShardId(1)),
            Some(NextHop::Shard(HERE))
        );
        assert_eq!(next_hops.to(addr(1), HERE), None);
    }
}
