//! What a shard knows by name: sessions by address, ufrag and key; tracks by key.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

mod foreign; // addresses whose sessions live on other shards

use foreign::{ForeignRoute, ForeignRoutes};

use spillway_wire::stun::TransactionId;

use crate::drop_reason::DropReason;
use crate::feedback::KeyframeRequests;
use crate::ice::Ufrag;
use crate::io::entropy;
use crate::key::{LayerIndex, LayerSet, SessionKey, ShardId, TrackKey};
use crate::level::AudioLevel;
use crate::limits::MAX_LAYERS;
use crate::peer::{Peer, Role};
use crate::send::history::History;
use crate::subscription::Subscription;
use crate::track::{LayerMeter, TrackInfo, TrackStatus};

/// The sessions of a shard.
#[derive(Default)]
pub struct PeerTable {
    /// One pointer each: finding one ahead of time touches none.
    peers: Slab<Box<Peer>>,
    by_addr: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<Ufrag, usize>,
    by_session: HashMap<SessionKey, usize>,
    foreign: ForeignRoutes,
}

/// Where datagrams from an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this session here.
    Local(usize),
    /// To a session on another shard.
    Foreign {
        /// Which shard.
        home: ShardId,
        /// Which session.
        session: SessionKey,
    },
}

impl PeerTable {
    /// Takes a session in with all its names.
    pub fn insert(&mut self, peer: Peer) -> usize {
        let index = self.peers.insert(Box::new(peer));
        let peer = &self.peers[index];
        self.by_session.insert(peer.session, index);
        for ufrag in peer.ufrags() {
            self.by_ufrag.insert(ufrag.clone(), index);
        }
        for addr in peer.paths.addresses() {
            self.by_addr.insert(addr, index);
            self.foreign.remove(addr);
        }
        index
    }

    /// Takes a session out with all its names.
    pub fn remove(&mut self, index: usize) -> Option<Peer> {
        let peer = self.peers.try_remove(index)?;
        self.by_session.remove(&peer.session);
        for ufrag in peer.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        for addr in peer.paths.addresses() {
            self.unroute(addr, index);
        }
        Some(*peer)
    }

    /// The session at `index`.
    pub fn get(&self, index: usize) -> Option<&Peer> {
        self.peers.get(index).map(|peer| &**peer)
    }

    /// The session at `index`.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Peer> {
        self.peers.get_mut(index).map(|peer| &mut **peer)
    }

    /// The session of that key.
    pub fn index_of(&self, session: SessionKey) -> Option<usize> {
        self.by_session.get(&session).copied()
    }

    /// The session that answers to `ufrag`.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<usize> {
        self.by_ufrag.get(&Ufrag(ufrag.into())).copied()
    }

    /// Where datagrams from `addr` go.
    pub fn by_addr(&self, addr: SocketAddr) -> Option<Route> {
        let local = self.by_addr.get(&addr).map(|index| Route::Local(*index));
        local.or_else(|| {
            self.foreign.get(addr).map(|route| Route::Foreign {
                home: route.home,
                session: route.session,
            })
        })
    }

    /// Makes session `index` answer to `ufrag`, and no longer to `retired`.
    pub fn add_ufrag(&mut self, index: usize, ufrag: Ufrag, retired: Option<&Ufrag>) {
        self.by_ufrag.insert(ufrag, index);
        if let Some(retired) = retired {
            self.by_ufrag.remove(retired);
        }
    }

    /// Lets session `index` receive from `addr`, which sends to `local`. The caller has verified that a check from there
    /// knows the session's password; `is_proven` as in [`Paths::add`](crate::peer::paths::Paths::add). Returns the address
    /// that it no longer receives from, for want of room. An address that another session is using stays with it.
    pub fn add_addr(
        &mut self,
        index: usize,
        (addr, local): (SocketAddr, Option<IpAddr>),
        is_proven: bool,
        now: Instant,
    ) -> Result<Option<SocketAddr>, DropReason> {
        let session = self.peers[index].session;
        if self.foreign.is_taken(addr, session, now) {
            return Err(DropReason::AddressInUse);
        }
        if let Some(&owner) = self.by_addr.get(&addr)
            && owner != index
            && let Some(owner) = self.peers.get_mut(owner)
        {
            if owner.paths.is_in_use(addr, now) {
                return Err(DropReason::AddressInUse);
            }
            owner.paths.remove(addr);
        }
        let transaction = TransactionId(entropy::bytes());
        let paths = &mut self.peers[index].paths;
        let given_up = paths.add((addr, local), is_proven, transaction, now);
        if let Some(given_up) = given_up {
            self.unroute(given_up, index);
        }
        self.foreign.remove(addr);
        self.by_addr.insert(addr, index);
        Ok(given_up)
    }

    /// Sends datagrams from `addr` to a session on another shard, which heard from there at `heard`.
    pub fn add_foreign(
        &mut self,
        addr: SocketAddr,
        (home, session): (ShardId, SessionKey),
        heard: Instant,
        now: Instant,
    ) -> Result<(), DropReason> {
        let owner = self.by_addr.get(&addr).copied();
        let owner = owner.and_then(|index| self.peers.get_mut(index));
        let is_taken = owner
            .as_ref()
            .is_some_and(|owner| owner.paths.is_in_use(addr, now));
        if is_taken || self.foreign.is_taken(addr, session, now) {
            return Err(DropReason::AddressInUse);
        }
        let route = ForeignRoute {
            home,
            session,
            heard,
        };
        self.foreign.insert(addr, route)?;
        if let Some(owner) = owner {
            owner.paths.remove(addr);
        }
        self.by_addr.remove(&addr);
        Ok(())
    }

    /// The home of `session`, on another shard, heard something authenticated from `addr`.
    pub fn heard_foreign(&mut self, addr: SocketAddr, session: SessionKey, at: Instant) {
        self.foreign.heard(addr, session, at);
    }

    /// Forgets an address whose session is no longer where it was said to be.
    pub fn forget_foreign(&mut self, addr: SocketAddr) {
        self.foreign.remove(addr);
    }

    /// How many sessions live here.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// True when none does.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// All sessions, for reports and shutdown, never for a packet.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers.iter().map(|(index, peer)| (index, &**peer))
    }

    /// Subscription `sub` of session `peer`.
    pub fn subscription(&mut self, peer: usize, sub: usize) -> Option<&mut Subscription> {
        match &mut self.peers.get_mut(peer)?.role {
            Role::Subscribe(subscriber) => subscriber.subscriptions.get_mut(sub),
            Role::Publish(_) => None,
        }
    }

    /// Datagrams from `addr` are no longer for session `index`; what another session receives from stays.
    fn unroute(&mut self, addr: SocketAddr, index: usize) {
        if self.by_addr.get(&addr) == Some(&index) {
            self.by_addr.remove(&addr);
        }
    }
}

/// The tracks a shard publishes, subscribes to or has heard of.
#[derive(Default)]
pub struct TrackTable {
    by_key: HashMap<TrackKey, TrackEntry>,
}

/// What a shard knows of one track.
#[derive(Default)]
pub struct TrackEntry {
    /// Where it is published.
    pub home: Option<ShardId>,
    /// What it is.
    pub info: Option<Arc<TrackInfo>>,
    /// What was measured last.
    pub status: TrackStatus,
    /// Who subscribes here: session, subscription.
    pub subscribers: Vec<(usize, usize)>,
    /// For each layer, how many of them need it.
    needed: [u32; MAX_LAYERS],
    /// What its home was told that we need.
    pub told: LayerSet,
    /// Present when it is published here.
    pub published: Option<Published>,
    /// Its latest packets, where somebody here subscribes to it.
    pub history: History,
    /// Place of its packets in the backlog, while they are put together.
    pub batch: Option<u32>,
}

/// What the home of a track knows beyond that.
pub struct Published {
    /// The session that publishes it.
    pub peer: usize,
    /// Keyframes wanted.
    pub keyframes: KeyframeRequests,
    /// True while it is on the list of tracks with requests that wait.
    pub is_waiting: bool,
    /// Bit rates.
    pub meter: LayerMeter,
    /// How loud it is.
    pub level: AudioLevel,
    /// Shards that need copies, and of which layers.
    pub copies: Vec<(ShardId, LayerSet)>,
    /// True while it is on the list of tracks with packets.
    pub active: bool,
}

impl Published {
    /// A track that session `peer` publishes from `now` on.
    pub fn new(peer: usize, now: Instant) -> Self {
        Self {
            peer,
            keyframes: KeyframeRequests::default(),
            is_waiting: false,
            meter: LayerMeter::new(now),
            level: AudioLevel::default(),
            copies: Vec::new(),
            active: false,
        }
    }

    /// Sets which layers `shard` gets copies of.
    pub fn set_copies(&mut self, shard: ShardId, layers: LayerSet) {
        self.copies.retain(|(known, _)| *known != shard);
        if !layers.is_empty() {
            self.copies.push((shard, layers));
        }
    }
}

impl TrackTable {
    /// What is known of `key`; made when nothing is.
    pub fn entry(&mut self, key: TrackKey) -> &mut TrackEntry {
        self.by_key.entry(key).or_default()
    }

    /// What is known of `key`.
    pub fn get_mut(&mut self, key: TrackKey) -> Option<&mut TrackEntry> {
        self.by_key.get_mut(&key)
    }

    /// Forgets `key` when nobody publishes it and nobody here subscribes to it.
    pub fn tidy(&mut self, key: TrackKey) {
        if let Some(entry) = self.by_key.get(&key)
            && entry.home.is_none()
            && entry.published.is_none()
            && entry.subscribers.is_empty()
        {
            self.by_key.remove(&key);
        }
    }
}

impl TrackEntry {
    /// True for video, when that is known.
    pub fn is_video(&self) -> bool {
        self.info
            .as_ref()
            .is_some_and(|info| info.spec.kind.is_video())
    }

    /// The layers that subscribers here need.
    pub fn needed(&self) -> LayerSet {
        let needed = (0..).zip(self.needed).filter(|(_, count)| *count > 0);
        needed.map(|(layer, _)| LayerIndex(layer)).collect()
    }

    /// Counts what `subscription` needs now instead of what it needed when last counted.
    pub fn recount(&mut self, subscription: &mut Subscription) {
        let (before, after) = (subscription.counted, subscription.layers());
        for index in 0..MAX_LAYERS {
            let layer = LayerIndex(index as u8);
            match (before.contains(layer), after.contains(layer)) {
                (false, true) => self.needed[index] += 1,
                (true, false) => self.needed[index] -= 1,
                (true, true) | (false, false) => {}
            }
        }
        subscription.counted = after;
    }

    /// Counts `layers` out: their subscription ended.
    pub fn uncount(&mut self, layers: LayerSet) {
        for index in 0..MAX_LAYERS {
            self.needed[index] -= u32::from(layers.contains(LayerIndex(index as u8)));
        }
    }
}
