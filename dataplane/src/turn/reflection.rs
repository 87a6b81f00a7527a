//! Limits answers to unproven source addresses (reflection attacks).
//!
//! The source of a datagram may be forged until the client has repeated a nonce that we sent there. An answer before
//! that is not longer than its request, except for a small budget per network: the 401 to a first Allocate of 28 bytes
//! has about 110 bytes and must be possible. The table has a fixed size; networks with the same hash share a budget.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ahash::RandomState;

use crate::limits::{REFLECTION_BURST_BYTES, REFLECTION_BYTES_PER_SECOND, REFLECTION_SLOTS};

/// Budgets of networks, in a table of fixed size.
#[derive(Debug)]
pub(super) struct Reflection {
    slots: Box<[Slot]>,
    hasher: RandomState,
    start: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    bytes: u32,
    /// Time of the last refill, in ms since the start. Wraps after 49 days; at worst a budget is then refilled late.
    filled_ms: u32,
}

impl Reflection {
    pub(super) fn new(start: Instant, hasher: RandomState) -> Self {
        let full = Slot {
            bytes: REFLECTION_BURST_BYTES,
            filled_ms: 0,
        };
        Self {
            slots: vec![full; REFLECTION_SLOTS].into(),
            hasher,
            start,
        }
    }

    /// True if an answer to `source` may be `bytes` longer than its request.
    pub(super) fn spend(&mut self, now: Instant, source: SocketAddr, bytes: usize) -> bool {
        // The mask selects the low bits: the length of the table is a power of two.
        let at = self.hasher.hash_one(network(source.ip())) as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[at];
        let now_ms = now.saturating_duration_since(self.start).as_millis() as u32;
        let waited_ms = now_ms.wrapping_sub(slot.filled_ms);
        let fresh = u64::from(waited_ms) * u64::from(REFLECTION_BYTES_PER_SECOND) / 1_000;
        if fresh > 0 {
            let filled = (u64::from(slot.bytes) + fresh).min(u64::from(REFLECTION_BURST_BYTES));
            slot.bytes = u32::try_from(filled).expect("the burst is a u32");
            slot.filled_ms = now_ms;
        }
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| slot.bytes.checked_sub(bytes));
        if let Some(left) = left {
            slot.bytes = left;
        }
        left.is_some()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// The IPv4 /24 or IPv6 /64 of an address: forged addresses of one network share a link to the victim.
fn network(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => u128::from(ip) >> 64 | 1 << 127,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_network_has_one_budget_that_comes_back() {
        let start = Instant::now();
        let mut reflection = Reflection::new(start, RandomState::with_seeds(1, 2, 3, 4));
        let source: SocketAddr = "198.51.100.7:5".parse().unwrap();
        let neighbour: SocketAddr = "198.51.100.200:6".parse().unwrap();
        let other: SocketAddr = "198.51.101.7:5".parse().unwrap();
        let burst = REFLECTION_BURST_BYTES as usize;
        assert!(reflection.spend(start, source, burst));
        assert!(!reflection.spend(start, neighbour, 1));
        assert!(reflection.spend(start, other, 1));
        let later = start + Duration::from_secs(1);
        assert!(reflection.spend(later, neighbour, REFLECTION_BYTES_PER_SECOND as usize));
        assert!(!reflection.spend(later, source, 1));
    }
}
