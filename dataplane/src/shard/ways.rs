//! Who is reached otherwise than by a datagram from the media port: clients of our relay, clients at the end
//! of a stream, and both of them on other shards.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::key::ShardId;
use crate::limits::MAX_FOREIGN_ADDRESSES;
use crate::turn::StreamId;

/// How an address is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is a relayed address of this shard.
    Relay,
    /// It is at the end of this stream.
    Stream(StreamId),
    /// This shard knows how.
    Shard(ShardId),
}

/// Addresses with a way of their own; all others are reached by the media socket.
#[derive(Debug, Default)]
pub struct Ways {
    by_addr: HashMap<SocketAddr, Way>,
    /// As many of them as lead to other shards.
    away: usize,
}

impl Ways {
    /// `addr` is reached by `way` from now on; false when too many of other shards are remembered.
    pub fn insert(&mut self, addr: SocketAddr, way: Way) -> bool {
        let is_away = matches!(way, Way::Shard(_));
        let was_away = matches!(self.by_addr.get(&addr), Some(Way::Shard(_)));
        if is_away && !was_away && self.away >= MAX_FOREIGN_ADDRESSES {
            return false;
        }
        self.by_addr.insert(addr, way);
        self.away = self.away + usize::from(is_away) - usize::from(was_away);
        true
    }

    /// `addr` is nobody's any more.
    pub fn remove(&mut self, addr: SocketAddr) {
        if let Some(Way::Shard(_)) = self.by_addr.remove(&addr) {
            self.away -= 1;
        }
    }

    /// The way to `addr`, if it has one of its own.
    pub fn get(&self, addr: SocketAddr) -> Option<Way> {
        self.by_addr.get(&addr).copied()
    }

    /// True when everybody is reached by the media socket.
    pub fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_other_shards_are_bounded_and_those_here_are_not() {
        let mut ways = Ways::default();
        let addr = |index: usize| {
            let index = u32::try_from(index).unwrap();
            SocketAddr::new(std::net::Ipv4Addr::from(index).into(), 9)
        };
        for index in 0..MAX_FOREIGN_ADDRESSES {
            assert!(ways.insert(addr(index), Way::Shard(ShardId(1))));
        }
        let one_more = addr(MAX_FOREIGN_ADDRESSES);
        assert!(!ways.insert(one_more, Way::Shard(ShardId(1))));
        assert!(ways.insert(addr(0), Way::Shard(ShardId(2))), "known");
        assert!(ways.insert(one_more, Way::Relay));
        assert!(ways.insert(addr(1), Way::Relay), "it came here");
        assert!(ways.insert(addr(MAX_FOREIGN_ADDRESSES + 1), Way::Shard(ShardId(1))));
        ways.remove(one_more);
        assert_eq!(ways.get(one_more), None);
        assert_eq!(ways.get(addr(0)), Some(Way::Shard(ShardId(2))));
    }
}
