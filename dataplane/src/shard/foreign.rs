//! Addresses of sessions on other shards.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::key::{SessionKey, ShardId};
use crate::limits::{ADDRESS_HOLD_TIME, MAX_ADDRESSES_PER_SESSION, MAX_FOREIGN_ADDRESSES};

/// Addresses whose datagrams this shard forwards to the shard of their session.
#[derive(Debug, Default)]
pub(super) struct ForeignRoutes {
    by_addr: HashMap<SocketAddr, ForeignRoute>,
    /// The addresses of each session, oldest first.
    addrs_by_session: HashMap<SessionKey, Vec<SocketAddr>>,
}

/// The session that uses an address, and its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ForeignRoute {
    pub(super) home: ShardId,
    pub(super) session: SessionKey,
    /// Time when the home last received an authenticated packet from the address, as far as reported to this shard.
    pub(super) last_received: Option<Instant>,
}

impl ForeignRoutes {
    pub(super) fn get(&self, addr: SocketAddr) -> Option<&ForeignRoute> {
        self.by_addr.get(&addr)
    }

    /// True when `addr` is in use by another session than `session`.
    pub(super) fn is_taken(&self, addr: SocketAddr, session: SessionKey, now: Instant) -> bool {
        self.by_addr.get(&addr).is_some_and(|route| {
            let is_fresh = |at: Instant| now.saturating_duration_since(at) < ADDRESS_HOLD_TIME;
            route.session != session && route.last_received.is_some_and(is_fresh)
        })
    }

    /// Forwards datagrams from `addr` to `route` from now on. A session with `MAX_ADDRESSES_PER_SESSION` addresses
    /// loses its oldest one.
    pub(super) fn insert(
        &mut self,
        addr: SocketAddr,
        route: ForeignRoute,
    ) -> Result<(), DropReason> {
        let session = route.session;
        if self
            .by_addr
            .get(&addr)
            .is_none_or(|known| known.session != session)
        {
            self.remove(addr);
            let addrs = self.addrs_by_session.get(&session);
            match addrs.filter(|addrs| addrs.len() >= MAX_ADDRESSES_PER_SESSION) {
                Some(addrs) => self.remove(addrs[0]),
                None if self.by_addr.len() >= MAX_FOREIGN_ADDRESSES => {
                    return Err(DropReason::TooManyAddresses);
                }
                None => {}
            }
            self.addrs_by_session.entry(session).or_default().push(addr);
        }
        let before = self.by_addr.insert(addr, route);
        let last_received = before.filter(|before| before.session == session);
        if let (Some(before), Some(route)) = (last_received, self.by_addr.get_mut(&addr)) {
            route.last_received = route.last_received.max(before.last_received);
        }
        Ok(())
    }

    /// The home of `session` received an authenticated packet from `addr` at time `at`.
    pub(super) fn record_received(&mut self, addr: SocketAddr, session: SessionKey, at: Instant) {
        if let Some(route) = self.by_addr.get_mut(&addr)
            && route.session == session
        {
            route.last_received = route.last_received.max(Some(at));
        }
    }

    /// Removes all addresses of `session`.
    pub(super) fn remove_session(&mut self, session: SessionKey) {
        for addr in self.addrs_by_session.remove(&session).into_iter().flatten() {
            self.by_addr.remove(&addr);
        }
    }

    pub(super) fn remove(&mut self, addr: SocketAddr) {
        let Some(route) = self.by_addr.remove(&addr) else {
            return;
        };
        if let Some(addrs) = self.addrs_by_session.get_mut(&route.session) {
            addrs.retain(|known| *known != addr);
            if addrs.is_empty() {
                self.addrs_by_session.remove(&route.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addr(number: usize) -> SocketAddr {
        let ip = u32::try_from(number).unwrap();
        SocketAddr::new(std::net::Ipv4Addr::from(ip).into(), 9)
    }

    fn route(session: u64, last_received: Instant) -> ForeignRoute {
        ForeignRoute {
            home: ShardId(1),
            session: SessionKey(session),
            last_received: Some(last_received),
        }
    }

    #[test]
    fn a_session_with_many_addresses_pushes_out_its_own_and_no_other() {
        let now = Instant::now();
        let mut routes = ForeignRoutes::default();
        routes.insert(addr(0), route(1, now)).unwrap();
        for number in 1..10_000 {
            routes.insert(addr(number), route(2, now)).unwrap();
        }
        assert!(routes.get(addr(0)).is_some());
        assert_eq!(routes.by_addr.len(), 1 + MAX_ADDRESSES_PER_SESSION);
        assert!(routes.get(addr(9_999)).is_some() && routes.get(addr(1)).is_none());
    }

    #[test]
    fn there_is_a_limit_for_all_together_and_what_ends_makes_room() {
        let now = Instant::now();
        let mut routes = ForeignRoutes::default();
        for number in 0..MAX_FOREIGN_ADDRESSES {
            routes
                .insert(addr(number), route(number as u64, now))
                .unwrap();
        }
        let more = addr(MAX_FOREIGN_ADDRESSES);
        assert_eq!(
            routes.insert(more, route(u64::MAX, now)),
            Err(DropReason::TooManyAddresses)
        );
        assert_eq!(routes.insert(addr(5), route(5, now)), Ok(()), "it is known");
        routes.remove_session(SessionKey(7));
        assert_eq!(routes.insert(more, route(u64::MAX, now)), Ok(()));
        for number in 0..=MAX_FOREIGN_ADDRESSES {
            routes.remove(addr(number));
        }
        assert!(routes.by_addr.is_empty() && routes.addrs_by_session.is_empty());
    }

    #[test]
    fn an_address_in_use_is_taken_until_its_owner_is_silent() {
        let start = Instant::now();
        let mut routes = ForeignRoutes::default();
        routes.insert(addr(0), route(1, start)).unwrap();
        let later = start + Duration::from_secs(1);
        routes.record_received(addr(0), SessionKey(2), later + ADDRESS_HOLD_TIME);
        routes.record_received(addr(0), SessionKey(1), later);
        let taken = |at| routes.is_taken(addr(0), SessionKey(2), at);
        assert!(taken(start + ADDRESS_HOLD_TIME) && !taken(later + ADDRESS_HOLD_TIME));
        assert!(!routes.is_taken(addr(0), SessionKey(1), start), "its own");
    }
}
