//! The sessions of a shard, by address, ufrag and key.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;

use super::contested::ContestedAddresses;
use super::foreign::{ForeignRoute, ForeignRoutes};
use super::route::{ForeignSession, Route};

use spillway_wire::stun::TransactionId;

use crate::drop_reason::DropReason;
use crate::ice::credentials::Ufrag;
use crate::key::{SessionIndex, SessionKey, SubscriberIndex};
use crate::media::subscription::Subscription;
use crate::peer::paths::Checked;
use crate::peer::session::{Peer, Role};

/// Sessions of a shard, and the addresses and ufrags that lead to them.
#[derive(Default)]
pub struct PeerTable {
    /// Each session is boxed, so prefetching one does not touch another.
    peers: Slab<Box<Peer>>,
    by_addr: HashMap<SocketAddr, SessionIndex>,
    by_ufrag: HashMap<Ufrag, SessionIndex>,
    by_session: HashMap<SessionKey, SessionIndex>,
    foreign: ForeignRoutes,
    claims: ContestedAddresses,
}

impl PeerTable {
    /// Adds a session with its key, ufrags and addresses. An address that another session uses stays with that session.
    pub fn insert(&mut self, mut peer: Peer, now: Instant) -> SessionIndex {
        let index = SessionIndex(self.peers.vacant_key());
        let addrs: Vec<SocketAddr> = peer.paths.addresses().collect();
        for addr in addrs {
            let may_take = peer.paths.is_proven(addr) && !self.is_taken(addr, peer.session, now);
            match may_take || self.by_addr(addr).is_none() {
                true => self.take_over(addr, index),
                false => peer.paths.remove(addr),
            }
        }
        self.by_session.insert(peer.session, index);
        for ufrag in peer.ufrags() {
            self.by_ufrag.insert(ufrag.clone(), index);
        }
        self.peers.insert(Box::new(peer));
        index
    }

    /// Removes a session with its key, ufrags and addresses.
    pub fn remove(&mut self, index: SessionIndex) -> Option<Peer> {
        let peer = self.peers.try_remove(index.0)?;
        self.by_session.remove(&peer.session);
        for ufrag in peer.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        for addr in peer.paths.addresses() {
            self.unroute(addr, index);
        }
        Some(*peer)
    }

    /// The session at `index`, if there is one.
    pub fn get(&self, index: SessionIndex) -> Option<&Peer> {
        self.peers.get(index.0).map(|peer| &**peer)
    }

    /// The session at `index`, for changes.
    pub fn get_mut(&mut self, index: SessionIndex) -> Option<&mut Peer> {
        self.peers.get_mut(index.0).map(|peer| &mut **peer)
    }

    /// Index of the session with key `session`, if it is on this shard.
    pub fn index_of(&self, session: SessionKey) -> Option<SessionIndex> {
        self.by_session.get(&session).copied()
    }

    /// The session whose connectivity checks have `ufrag`.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<SessionIndex> {
        self.by_ufrag.get(&Ufrag(ufrag.into())).copied()
    }

    /// The session that datagrams from `addr` belong to, on this or another shard.
    pub fn by_addr(&self, addr: SocketAddr) -> Option<Route> {
        let local = self.by_addr.get(&addr).map(|index| Route::Local(*index));
        local.or_else(|| {
            let route = self.foreign.get(addr)?;
            Some(Route::Foreign(ForeignSession {
                home: route.home,
                session: route.session,
            }))
        })
    }

    /// Adds `ufrag` to session `index`, and removes `retired`.
    pub fn add_ufrag(&mut self, index: SessionIndex, ufrag: Ufrag, retired: Option<&Ufrag>) {
        self.by_ufrag.insert(ufrag, index);
        if let Some(retired) = retired {
            self.by_ufrag.remove(retired);
        }
    }

    /// Lets session `index` receive from the source address of a check. The caller has verified that the check knows
    /// the session's password; `transaction` is for the request that proves the address. Returns the address that the
    /// session gave up, if it had too many.
    ///
    /// If another session uses the address, the check is refused. If another session has the address but did not use it
    /// lately, that session keeps it until the address is [proven](Self::proven) to belong to this session.
    pub fn add_addr(
        &mut self,
        index: SessionIndex,
        check: Checked,
        transaction: TransactionId,
        now: Instant,
    ) -> Result<Option<SocketAddr>, DropReason> {
        let (session, addr) = (self.peers[index.0].session, check.remote);
        if self.is_taken(addr, session, now) {
            return Err(DropReason::AddressInUse);
        }
        let owner = self.by_addr(addr);
        let is_anothers = owner.is_some_and(|owner| !self.is_of(owner, session));
        if is_anothers && !check.is_proven && !self.peers[index.0].paths.is_proven(addr) {
            self.claims.insert(addr, Route::Local(index), now)?;
        } else {
            self.take_over(addr, index);
        }
        let given_up = self.peers[index.0].paths.add(check, transaction, now);
        if let Some(given_up) = given_up {
            self.unroute(given_up, index);
        }
        Ok(given_up)
    }

    /// The session that sent the request `transaction` to `addr`: the owner or the claimant of `addr`.
    pub fn asked(&self, addr: SocketAddr, transaction: TransactionId) -> Option<Route> {
        let is_asked = |route: &Route| match route {
            Route::Local(index) => self
                .get(*index)
                .is_some_and(|peer| peer.paths.expects(addr, transaction)),
            Route::Foreign(_) => false,
        };
        let routes = [self.by_addr(addr), self.claims.get(addr)];
        let here = routes
            .iter()
            .flatten()
            .find(|route| is_asked(route))
            .copied();
        // Requests of sessions on other shards are known only there.
        here.or_else(|| {
            let is_foreign = |route: &&Route| matches!(route, Route::Foreign(_));
            routes.iter().rev().flatten().find(is_foreign).copied()
        })
        .or(routes[0])
    }

    /// The client of session `index` has proven `addr`: datagrams from it now belong to the session.
    pub fn proven(&mut self, addr: SocketAddr, index: SessionIndex) {
        if self.claims.take(addr, Route::Local(index)) {
            self.take_over(addr, index);
        }
    }

    /// Forwards datagrams from `addr` to a session on another shard. A session of this shard that has the address keeps
    /// it until the other shard reports the address as proven
    /// ([`record_foreign_received`](Self::record_foreign_received)).
    pub fn add_foreign(
        &mut self,
        addr: SocketAddr,
        foreign: ForeignSession,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.is_taken(addr, foreign.session, now) {
            return Err(DropReason::AddressInUse);
        }
        let route = Route::Foreign(foreign);
        match self.by_addr(addr) {
            Some(owner) if !self.is_of(owner, foreign.session) => {
                self.claims.insert(addr, route, now)
            }
            Some(_) | None => self.set_foreign(addr, foreign, None),
        }
    }

    /// Forwards datagrams from `addr` to the new home of a session that moved away.
    pub fn follow(&mut self, addr: SocketAddr, foreign: ForeignSession, now: Instant) {
        // A session that took the address meanwhile keeps it.
        if self.by_addr(addr).is_none() {
            let _ = self.set_foreign(addr, foreign, Some(now));
        }
    }

    /// The session `foreign` received an authenticated packet from `addr` at time `at`, and `addr` is proven to be its
    /// client's.
    pub fn record_foreign_received(
        &mut self,
        addr: SocketAddr,
        foreign: ForeignSession,
        at: Instant,
    ) {
        let route = Route::Foreign(foreign);
        if self.claims.take(addr, route) && !self.is_taken(addr, foreign.session, at) {
            if let Some(&owner) = self.by_addr.get(&addr)
                && let Some(owner) = self.peers.get_mut(owner.0)
            {
                owner.paths.remove(addr);
            }
            self.by_addr.remove(&addr);
            // If the table is full, the next connectivity check tries again.
            let _ = self.set_foreign(addr, foreign, Some(at));
        }
        self.foreign.record_received(addr, foreign.session, at);
    }

    /// Stops forwarding to `session`, which has ended or moved.
    pub fn forget_session(&mut self, session: SessionKey) {
        self.foreign.remove_session(session);
    }

    /// Stops forwarding from `addr`: its session is not on the expected shard.
    pub fn forget_foreign(&mut self, addr: SocketAddr) {
        self.foreign.remove(addr);
    }

    /// Number of sessions on this shard.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// True when the shard has no session.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// All sessions. For reports and shutdown only: too slow to call per packet.
    pub fn iter(&self) -> impl Iterator<Item = (SessionIndex, &Peer)> {
        let peers = self.peers.iter();
        peers.map(|(index, peer)| (SessionIndex(index), &**peer))
    }

    /// The subscription at `at`, if its session and the subscription exist.
    pub fn subscription(&mut self, at: SubscriberIndex) -> Option<&mut Subscription> {
        match &mut self.peers.get_mut(at.session.0)?.role {
            Role::Subscribe(subscriber) => subscriber.subscriptions.get_mut(at.subscription),
            Role::Publish(_) => None,
        }
    }

    /// True when a session other than `session` uses `addr`.
    fn is_taken(&self, addr: SocketAddr, session: SessionKey, now: Instant) -> bool {
        let owner = self.by_addr.get(&addr).and_then(|index| self.get(*index));
        owner.is_some_and(|owner| owner.session != session && owner.paths.is_in_use(addr, now))
            || self.foreign.is_taken(addr, session, now)
    }

    fn is_of(&self, route: Route, session: SessionKey) -> bool {
        match route {
            Route::Local(index) => self.get(index).is_some_and(|peer| peer.session == session),
            Route::Foreign(foreign) => foreign.session == session,
        }
    }

    /// Gives `addr` to session `index`, and takes it from its owner.
    fn take_over(&mut self, addr: SocketAddr, index: SessionIndex) {
        self.foreign.remove(addr);
        let before = self.by_addr.insert(addr, index);
        if let Some(before) = before.filter(|before| *before != index)
            && let Some(owner) = self.peers.get_mut(before.0)
        {
            owner.paths.remove(addr);
        }
    }

    fn set_foreign(
        &mut self,
        addr: SocketAddr,
        foreign: ForeignSession,
        last_received: Option<Instant>,
    ) -> Result<(), DropReason> {
        let route = ForeignRoute {
            home: foreign.home,
            session: foreign.session,
            last_received,
        };
        self.foreign.insert(addr, route)
    }

    /// Removes `addr` from session `index`. If another session owns the address, that session keeps it.
    fn unroute(&mut self, addr: SocketAddr, index: SessionIndex) {
        self.claims.take(addr, Route::Local(index));
        if self.by_addr.get(&addr) == Some(&index) {
            self.by_addr.remove(&addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ice::credentials::IceKey;
    use crate::io::entropy::Entropy;
    use crate::key::ShardId;
    use crate::limits::ADDRESS_HOLD_TIME;
    use crate::peer::build::PeerFactory;
    use crate::srtp::AeadChoice;

    struct TestTable {
        table: PeerTable,
        factory: PeerFactory,
        now: Instant,
    }

    const HERE: SocketAddr = SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        9,
    );
    const ELSEWHERE: ForeignSession = ForeignSession {
        home: ShardId(1),
        session: SessionKey(9),
    };

    fn checked(is_proven: bool) -> Checked {
        Checked {
            remote: HERE,
            local: None,
            nominates: false,
            is_proven,
        }
    }

    impl TestTable {
        fn new() -> Self {
            let candidates = vec!["127.0.0.1:7".parse().unwrap()];
            let factory = PeerFactory::new(
                IceKey::generate(&mut Entropy::System),
                candidates,
                false,
                AeadChoice::Auto,
            )
            .unwrap();
            Self {
                table: PeerTable::default(),
                factory,
                now: Instant::now(),
            }
        }

        fn session(&mut self, key: u64) -> SessionIndex {
            let peer = self
                .factory
                .subscriber(SessionKey(key), &mut Entropy::System, self.now);
            self.table.insert(peer, self.now)
        }

        fn add(&mut self, index: SessionIndex, is_proven: bool) -> Result<(), DropReason> {
            self.table
                .add_addr(
                    index,
                    checked(is_proven),
                    TransactionId(Entropy::System.bytes()),
                    self.now,
                )
                .map(drop)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn a_quiet_owner_keeps_its_address_until_another_has_proven_it() {
        let mut scene = TestTable::new();
        let (owner, other) = (scene.session(1), scene.session(2));
        scene.add(owner, true).unwrap();
        assert_eq!(scene.add(other, false), Err(DropReason::AddressInUse));
        scene.pass(ADDRESS_HOLD_TIME);
        scene.add(other, false).unwrap();
        assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(owner)));
        assert_eq!(scene.add(owner, true), Ok(()), "it blocks nobody");
        scene.pass(ADDRESS_HOLD_TIME);
        scene.table.proven(HERE, other);
        assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(other)));
        assert!(!scene.table.get(owner).unwrap().paths.knows(HERE));
        scene.table.proven(HERE, owner);
        assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(other)), "once");
    }

    #[test]
    fn a_session_that_moves_here_takes_nothing_that_is_in_use() {
        let mut scene = TestTable::new();
        let owner = scene.session(1);
        scene.add(owner, true).unwrap();
        for is_proven in [false, true] {
            let mut elsewhere = TestTable::new();
            let mover = elsewhere.session(2);
            elsewhere.add(mover, is_proven).unwrap();
            let peer = elsewhere.table.remove(mover).unwrap();
            let moved = scene.table.insert(peer, scene.now);
            assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(owner)));
            assert!(!scene.table.get(moved).unwrap().paths.knows(HERE));
            scene.table.remove(moved);
        }
        scene.pass(ADDRESS_HOLD_TIME);
        let mut elsewhere = TestTable::new();
        let mover = elsewhere.session(3);
        elsewhere.add(mover, true).unwrap();
        let moved = scene
            .table
            .insert(elsewhere.table.remove(mover).unwrap(), scene.now);
        assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(moved)));
    }

    #[test]
    fn a_session_of_another_shard_gets_an_address_when_its_home_has_proof() {
        let mut scene = TestTable::new();
        let owner = scene.session(1);
        scene.add(owner, true).unwrap();
        let refused = scene.table.add_foreign(HERE, ELSEWHERE, scene.now);
        assert_eq!(refused, Err(DropReason::AddressInUse));
        scene.pass(ADDRESS_HOLD_TIME);
        scene.table.add_foreign(HERE, ELSEWHERE, scene.now).unwrap();
        assert_eq!(scene.table.by_addr(HERE), Some(Route::Local(owner)));
        let foreign = Some(Route::Foreign(ELSEWHERE));
        let transaction = TransactionId([0; 12]);
        assert_eq!(
            scene.table.asked(HERE, transaction),
            foreign,
            "its home knows"
        );
        scene
            .table
            .record_foreign_received(HERE, ELSEWHERE, scene.now);
        assert_eq!(scene.table.by_addr(HERE), foreign);
        assert_eq!(scene.add(owner, false), Err(DropReason::AddressInUse));
        scene.table.forget_session(ELSEWHERE.session);
        assert_eq!(scene.table.by_addr(HERE), None);
    }
}
