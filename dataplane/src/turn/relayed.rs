//! Relayed addresses: the free ports, and the allocation of each used port.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use spillway_wire::stun::Family;

use super::allocation::AllocationId;

/// Relayed addresses of one shard. The shards of a node share addresses and ports: each has every `step`-th pair of
/// ports, so that each shard has even ports. A datagram to a port is for shard `(port - first) / 2 % step`.
#[derive(Debug, Clone)]
pub struct RelayAddresses {
    /// Relayed IPv4 address, as peers see it.
    pub v4: Option<Ipv4Addr>,
    /// Relayed IPv6 address, as peers see it.
    pub v6: Option<Ipv6Addr>,
    /// Ports of the relayed addresses of all shards.
    pub ports: RangeInclusive<u16>,
    /// Ports of the range that the node's own media and TURN sockets use.
    pub except: Vec<u16>,
    /// Number of shards that share the ports.
    pub step: NonZeroU16,
    /// Number of this shard, starting at 0.
    pub offset: u16,
}

/// Free and taken ports of both families.
#[derive(Debug)]
pub(super) struct Relayed {
    v4: Option<Pool>,
    v6: Option<Pool>,
}

/// Requested parity of a port (EVEN-PORT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parity {
    Any,
    Even,
}

#[derive(Debug)]
struct Pool {
    ip: IpAddr,
    /// First port of the range of all shards.
    first: u16,
    step: u16,
    offset: u16,
    /// Free slots, in no order.
    free: Vec<u16>,
    /// Released slots, the oldest first. They are reused late, because peers may still send to the last owner.
    resting: VecDeque<u16>,
    /// Minimum number of resting slots before the oldest one is reused: half of all slots.
    rest: usize,
    owner_by_slot: Vec<AllocationId>,
}

impl RelayAddresses {
    /// True when `port` is in the range of relayed ports.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port) && !self.except.contains(&port)
    }

    /// True when `ip` is one of the relayed addresses.
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4 == Some(ip),
            IpAddr::V6(ip) => self.v6 == Some(ip),
        }
    }
}

impl Relayed {
    pub(super) fn new(addresses: &RelayAddresses) -> Self {
        let pool = |ip| Pool::new(ip, addresses);
        Self {
            v4: addresses.v4.map(|ip| pool(ip.into())),
            v6: addresses.v6.map(|ip| pool(ip.into())),
        }
    }

    /// True when there are relayed addresses of `family`.
    pub(super) fn has(&self, family: Family) -> bool {
        self.pool(family).is_some()
    }

    /// A random free port for `owner`; `None` when no suitable port is free.
    pub(super) fn take(
        &mut self,
        family: Family,
        parity: Parity,
        owner: AllocationId,
        rng: &mut fastrand::Rng,
    ) -> Option<u16> {
        let pool = self.pool_mut(family)?;
        let slot = pool
            .take_random(parity, rng)
            .or_else(|| pool.reuse_oldest(parity))?;
        pool.owner_by_slot[usize::from(slot)] = owner;
        Some(pool.port(slot))
    }

    /// Releases a port that was taken.
    pub(super) fn release(&mut self, family: Family, port: u16) {
        let pool = self.pool_mut(family).expect("it was taken from there");
        let slot = pool.slot(port).expect("it was taken from there");
        pool.owner_by_slot[usize::from(slot)] = AllocationId::NONE;
        pool.resting.push_back(slot);
        if pool.resting.len() > pool.rest {
            pool.free.extend(pool.resting.pop_front());
        }
    }

    /// Allocation that has the relayed address.
    pub(super) fn owner(&self, address: SocketAddr) -> Option<AllocationId> {
        let pool = self.pool(Family::of(address.ip()))?;
        if address.ip() != pool.ip {
            return None;
        }
        let slot = pool.slot(address.port())?;
        let owner = *pool.owner_by_slot.get(usize::from(slot))?;
        (owner != AllocationId::NONE).then_some(owner)
    }

    /// The relayed address with `port`.
    pub(super) fn address(&self, family: Family, port: u16) -> SocketAddr {
        let pool = self.pool(family).expect("it was taken from there");
        SocketAddr::new(pool.ip, port)
    }

    fn pool(&self, family: Family) -> Option<&Pool> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn pool_mut(&mut self, family: Family) -> Option<&mut Pool> {
        match family {
            Family::V4 => self.v4.as_mut(),
            Family::V6 => self.v6.as_mut(),
        }
    }
}

impl Pool {
    fn new(ip: IpAddr, addresses: &RelayAddresses) -> Self {
        let mut pool = Self {
            ip,
            first: *addresses.ports.start(),
            step: addresses.step.get(),
            offset: addresses.offset,
            free: Vec::new(),
            resting: VecDeque::new(),
            rest: 0,
            owner_by_slot: Vec::new(),
        };
        pool.free = (0..)
            .take_while(|slot| pool.port_number(*slot) <= u32::from(*addresses.ports.end()))
            .collect();
        pool.owner_by_slot = vec![AllocationId::NONE; pool.free.len()];
        let free = std::mem::take(&mut pool.free).into_iter();
        pool.free = free
            .filter(|slot| addresses.has_port(pool.port(*slot)))
            .collect();
        pool.rest = pool.free.len() / 2;
        pool.resting.reserve_exact(pool.rest + 1);
        pool
    }

    /// A random free slot.
    fn take_random(&mut self, parity: Parity, rng: &mut fastrand::Rng) -> Option<u16> {
        if self.free.is_empty() {
            return None;
        }
        let start = rng.usize(..self.free.len());
        let (before, after) = self.free.split_at(start);
        let mut slots = after.iter().chain(before);
        let found = slots.position(|slot| self.is_suitable(*slot, parity))?;
        let at = (start + found) % self.free.len();
        Some(self.free.swap_remove(at))
    }

    /// Reuses the slot that has rested longest, when no other slot is left.
    fn reuse_oldest(&mut self, parity: Parity) -> Option<u16> {
        let mut slots = self.resting.iter();
        let at = slots.position(|slot| self.is_suitable(*slot, parity))?;
        self.resting.remove(at)
    }

    fn is_suitable(&self, slot: u16, parity: Parity) -> bool {
        match parity {
            Parity::Any => true,
            Parity::Even => self.port(slot).is_multiple_of(2),
        }
    }

    fn port(&self, slot: u16) -> u16 {
        u16::try_from(self.port_number(slot)).expect("slots end where ports do")
    }

    /// The port number of a slot; may exceed 65,535 for a slot outside the range.
    fn port_number(&self, slot: u16) -> u32 {
        let pair = u32::from(slot / 2) * u32::from(self.step) + u32::from(self.offset);
        u32::from(self.first) + pair * 2 + u32::from(slot % 2)
    }

    fn slot(&self, port: u16) -> Option<u16> {
        let distance = port.checked_sub(self.first)?;
        let (pair, second) = (distance / 2, distance % 2);
        (pair % self.step == self.offset).then_some(pair / self.step * 2 + second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ports: RangeInclusive<u16>, step: u16, offset: u16) -> Relayed {
        Relayed::new(&RelayAddresses {
            v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            v6: None,
            ports,
            except: Vec::new(),
            step: NonZeroU16::new(step).unwrap(),
            offset,
        })
    }

    #[test]
    fn every_port_is_taken_once_and_comes_back() {
        let mut relayed = pool(49_152..=65_535, 4, 3);
        let mut rng = fastrand::Rng::with_seed(1);
        let take = |relayed: &mut Relayed, rng: &mut fastrand::Rng| {
            relayed.take(Family::V4, Parity::Any, AllocationId(7), rng)
        };
        let mut ports = Vec::new();
        while let Some(port) = take(&mut relayed, &mut rng) {
            assert_eq!((port - 49_152) / 2 % 4, 3);
            ports.push(port);
        }
        assert!(!ports.is_sorted());
        let mut sorted = ports.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((sorted.len(), sorted.last()), (4_096, Some(&65_535)));
        let address = relayed.address(Family::V4, ports[9]);
        assert_eq!(relayed.owner(address), Some(AllocationId(7)));
        relayed.release(Family::V4, ports[9]);
        assert_eq!(relayed.owner(address), None);
        assert_eq!(take(&mut relayed, &mut rng), Some(ports[9]));
    }

    #[test]
    fn a_port_that_is_given_back_rests_while_there_are_others() {
        let mut pool = pool(50_000..=50_009, 1, 0);
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seen = Vec::new();
        for _ in 0..100 {
            let port = pool.take(Family::V4, Parity::Any, AllocationId(1), &mut rng);
            let port = port.expect("all are free");
            assert!(
                !seen.iter().rev().take(5).any(|last| *last == port),
                "{port} again"
            );
            seen.push(port);
            pool.release(Family::V4, port);
        }
        let different: std::collections::HashSet<_> = seen.into_iter().collect();
        assert_eq!(different.len(), 10, "each has its turn");
        for _ in 0..10 {
            let port = pool.take(Family::V4, Parity::Any, AllocationId(1), &mut rng);
            assert!(port.is_some(), "nobody is refused because of it");
        }
    }

    #[test]
    fn even_ports_are_found_where_there_are_any() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut relayed = pool(50_000..=50_004, 1, 0);
        let mut even = |relayed: &mut Relayed| {
            relayed.take(Family::V4, Parity::Even, AllocationId(1), &mut rng)
        };
        for _ in 0..3 {
            assert!(even(&mut relayed).unwrap().is_multiple_of(2));
        }
        assert_eq!(even(&mut relayed), None);
        assert!(even(&mut pool(50_000..=50_100, 2, 1)).is_some());
        assert_eq!(even(&mut pool(50_001..=50_001, 1, 0)), None);
    }

    #[test]
    fn ports_of_something_else_are_not_given_out() {
        let mut relayed = Relayed::new(&RelayAddresses {
            v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            v6: None,
            ports: 50_000..=50_003,
            except: vec![50_001, 50_002, 7],
            step: NonZeroU16::MIN,
            offset: 0,
        });
        let mut rng = fastrand::Rng::with_seed(4);
        let mut take = || relayed.take(Family::V4, Parity::Any, AllocationId(1), &mut rng);
        let mut taken = [take(), take(), take()];
        taken.sort_unstable();
        assert_eq!(taken, [None, Some(50_000), Some(50_003)]);
    }

    #[test]
    fn addresses_of_others_have_no_owner() {
        let mut relayed = pool(50_000..=50_009, 2, 0);
        let mut rng = fastrand::Rng::with_seed(3);
        while relayed
            .take(Family::V4, Parity::Any, AllocationId(1), &mut rng)
            .is_some()
        {}
        for (address, owned) in [
            ("192.0.2.1:50009", true),
            ("192.0.2.1:50001", true),
            ("192.0.2.1:50002", false),
            ("192.0.2.1:50003", false),
            ("192.0.2.1:49998", false),
            ("192.0.2.1:50011", false),
            ("192.0.2.1:65535", false),
            ("192.0.2.2:50000", false),
            ("[::1]:50000", false),
        ] {
            assert_eq!(
                relayed.owner(address.parse().unwrap()).is_some(),
                owned,
                "{address}"
            );
        }
    }
}
