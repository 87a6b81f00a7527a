//! One core's share of the node: its sessions, tracks and packets. Nothing here is shared or locked.
//!
//! [`run`] owns the loop and the sockets; this module and its siblings hold the state and never wait.

pub mod backlog; // media that some subscribers have yet to get
mod contested; // addresses that several sessions ask for
mod dirty; // sessions to come back to
mod divert; // clients that are reached through TURN, a stream or another shard: both directions
mod foreign; // addresses whose sessions live on other shards
mod layers; // which layer each subscriber gets
mod mailbox; // what other threads ask
pub mod next_hop; // how such clients are reached
pub mod peer_table; // sessions by address, ufrag and key
pub mod route; // where datagrams from an address go
pub mod run; // the loop
pub mod schedule; // sessions with packets to seal
mod session_events; // what sessions report while they are driven
mod sessions; // sessions that come, move and go
mod tick; // what is looked at now and then
pub mod track_table; // tracks by key
pub mod turn_service; // TURN on this shard
#[cfg(test)]
mod tests; // a whole shard in one thread

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use spillway_wire::demux::{Protocol, protocol};

use crate::drop_reason::DropReason;
use crate::ice::candidates::Candidates;
use crate::ice::credentials::IceKey;
use crate::io::timers::Timers;
use crate::key::{LayerIndex, ShardId, TrackKey};
use crate::media::packet::MediaPacket;
use crate::mesh::mailbox::{Mesh, Outbox};
use crate::mesh::message::{ShardEvent, ToControl, ToShard};
use crate::path::seal::{self, Waiting};
use crate::path::transmit::Departures;
use crate::peer::{NO_CODEC, Output, PeerEvent};
use crate::report::ShardReport;
use crate::stream::{Arrivals, Streams};
use backlog::Backlog;
use dirty::DirtySet;
use next_hop::NextHops;
use peer_table::PeerTable;
use schedule::{Portion, Schedule};
use track_table::TrackTable;
use turn_service::TurnService;

/// The state of a shard.
pub struct Shard {
    /// Which one it is.
    pub id: ShardId,
    /// Checks connectivity checks.
    pub ice_key: IceKey,
    /// Where the node is reached.
    pub candidates: Candidates,
    /// Its sessions.
    pub peers: PeerTable,
    /// Its tracks.
    pub tracks: TrackTable,
    /// When sessions want to be woken.
    pub timers: Timers,
    /// Its way to other threads.
    pub outbox: Outbox,
    /// What it counted.
    pub report: ShardReport,
    /// What sessions give out while they are driven; empty between calls.
    pub out: Output,
    /// Media received by sessions here, not yet measured and copied.
    pub inbox: Vec<MediaPacket>,
    /// Media that subscribers here have yet to get, from here and elsewhere.
    pub backlog: Backlog,
    /// Who gets it.
    pub work: Schedule,
    /// What the session that is being sealed for gets.
    pub portions: Vec<Portion>,
    /// Packets of the session that is being sealed for.
    pub waiting_packets: Vec<Waiting>,
    /// Tracks published here that had packets since the last measurement.
    pub active: Vec<TrackKey>,
    /// Subscriptions that began or changed layers while a packet was spread.
    pub switched: Vec<(usize, usize)>,
    /// Sessions, with one of their subscriptions, that negotiated no codec for what is published as its track, and the
    /// codec; found out while packets were sealed.
    pub undecodable: Vec<(usize, usize, TrackKey, u8)>,
    /// Events of sessions, not yet acted upon.
    events: Vec<(usize, PeerEvent)>,
    /// Subscribers whose layers have to be chosen again.
    dirty: DirtySet,
    /// Tracks published here with keyframe requests that wait.
    waiting: Vec<TrackKey>,
    /// Keyframes asked of other shards, and when: no answer may mean that it was lost on the way.
    pub asked: HashMap<(TrackKey, LayerIndex), Instant>,
    /// What waits to be sent over IPv4.
    pub departures_v4: Departures,
    /// What waits to be sent over IPv6.
    pub departures_v6: Departures,
    /// Who is reached otherwise.
    pub next_hops: NextHops,
    /// TURN, where clients are relayed.
    pub turn: Option<Box<TurnService>>,
    /// Clients over TCP.
    pub streams: Streams,
    /// What they sent; empty between turns.
    arrivals: Arrivals,
    /// It has not slept for a while: time is what the shard has least of.
    pub is_busy: bool,
    /// A socket had no room for all that waits.
    is_blocked: bool,
    next_tick: Instant,
    next_levels: Instant,
    next_report: Instant,
    levels_were_silent: bool,
    /// Something happened that no report has told yet.
    has_news: bool,
    stopping: bool,
}

impl Shard {
    /// A shard without sessions.
    pub fn new(
        id: ShardId,
        mesh: Arc<Mesh>,
        ice_key: IceKey,
        (candidates, streams): (Candidates, Streams),
        now: Instant,
    ) -> Self {
        Self {
            id,
            ice_key,
            candidates,
            peers: PeerTable::default(),
            tracks: TrackTable::default(),
            timers: Timers::default(),
            outbox: Outbox::new(mesh),
            report: ShardReport::new(id),
            out: Output::default(),
            inbox: Vec::new(),
            backlog: Backlog::default(),
            work: Schedule::default(),
            portions: Vec::new(),
            waiting_packets: Vec::new(),
            active: Vec::new(),
            switched: Vec::new(),
            undecodable: Vec::new(),
            events: Vec::new(),
            dirty: DirtySet::default(),
            waiting: Vec::new(),
            asked: HashMap::new(),
            departures_v4: Departures::new(),
            departures_v6: Departures::new(),
            next_hops: NextHops::default(),
            turn: None,
            streams,
            arrivals: Arrivals::default(),
            is_busy: false,
            is_blocked: false,
            next_tick: now,
            next_levels: now,
            next_report: now,
            levels_were_silent: true,
            has_news: true,
            stopping: false,
        }
    }

    /// Takes over what session `index` gave out.
    pub fn absorb(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else {
            self.out = Output::default();
            return;
        };
        for transmit in self.out.transmits.drain(..) {
            let (destination, bytes) = (transmit.destination, transmit.contents.len());
            if !peer.paths.may_send(destination, bytes) {
                self.report.drops.count(DropReason::UnprovenAddress);
                continue;
            }
            if protocol(&transmit.contents) == Some(Protocol::Dtls) {
                peer.paths.handshake_sent(destination);
            }
            let run = seal::described_for(peer, destination, &transmit.contents);
            let departures = match transmit.destination {
                SocketAddr::V4(_) => &mut self.departures_v4,
                SocketAddr::V6(_) => &mut self.departures_v6,
            };
            departures.push(&transmit.contents, run, &mut self.report);
        }
        self.inbox.append(&mut self.out.packets);
        self.events
            .extend(self.out.events.drain(..).map(|event| (index, event)));
        self.report.drops.add(&std::mem::take(&mut self.out.drops));
        self.timers.set(index, peer.deadline());
    }

    /// `packet` waits for its turn, if there is any hope for it.
    pub fn forward_later(&mut self, packet: MediaPacket, now: Instant) {
        if !self.backlog.push(packet, now) {
            self.report.drops.count(DropReason::BacklogFull);
        }
    }

    /// Does `work` for session `index`; a panic in it ends this session, not the shard.
    pub fn guard(&mut self, index: usize, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err()
            && let Some(peer) = self.peers.get_mut(index)
        {
            peer.panicked(&mut self.out);
            self.absorb(index);
        }
    }

    /// Subscriptions switched while packets were sealed: tell who wants to know.
    pub fn after_switches(&mut self) {
        for (peer, sub) in std::mem::take(&mut self.switched) {
            let Some(subscription) = self.peers.subscription(peer, sub) else {
                continue;
            };
            let (track, layer) = (subscription.track, subscription.current());
            let info = self
                .tracks
                .get_mut(track)
                .and_then(|entry| entry.info.clone());
            self.recount(peer, sub);
            self.tell_layer(peer, track, layer, info.as_deref());
            self.tell_interest(track);
        }
        for (peer, sub, track, codec) in std::mem::take(&mut self.undecodable) {
            if !self.offer_first(peer, (sub, codec), track) {
                self.tell_undecodable(peer, track);
            }
        }
    }

    /// The publisher of `track` sends its codec number `codec`.
    pub fn tell_codec(&mut self, track: TrackKey, codec: u8) {
        let info = self
            .tracks
            .get_mut(track)
            .and_then(|entry| entry.info.as_ref());
        let Some(codec) = info.and_then(|info| info.codecs.get(usize::from(codec))) else {
            return;
        };
        let codec = Box::new(*codec);
        // Lost, it is told again with the next change; offers have all codecs in any case.
        let _ = self.outbox.send_control(ToControl::Sends { track, codec });
    }

    /// Offers the subscriber `peer` the codec that is published as `track` before all others. False when that is no help.
    fn offer_first(&mut self, peer: usize, wanted: (usize, u8), track: TrackKey) -> bool {
        let entry = self.tracks.get_mut(track);
        let info = entry.and_then(|entry| entry.info.clone());
        let (Some(info), Some(session)) = (info, self.peers.get_mut(peer)) else {
            return true;
        };
        let is_offered = session.offer_first(wanted, &info, &mut self.out);
        self.absorb(peer);
        is_offered
    }

    /// The subscriber `peer` negotiated no codec for what is published as `track`.
    fn tell_undecodable(&mut self, peer: usize, track: TrackKey) {
        let Some(peer) = self.peers.get(peer) else {
            return;
        };
        let session = peer.session;
        self.tell(ShardEvent::Layer {
            session,
            track,
            rid: String::new(),
            active: false,
            reason: NO_CODEC,
        });
    }

    fn tell_layer(
        &mut self,
        peer: usize,
        track: TrackKey,
        layer: Option<LayerIndex>,
        info: Option<&crate::media::track::TrackInfo>,
    ) {
        let Some(peer) = self.peers.get_mut(peer) else {
            return;
        };
        let rid = layer.and_then(|layer| info.map(|info| info.rid_of(layer).to_owned()));
        let session = peer.session;
        let active = layer.is_some();
        self.tell(ShardEvent::Layer {
            session,
            track,
            rid: rid.unwrap_or_default(),
            active,
            reason: "",
        });
    }

    /// Tells the control plane. What it cannot take any more, it reads from the state later.
    fn tell(&mut self, event: ShardEvent) {
        if self.outbox.send_control(ToControl::Event(event)).is_err() {
            tracing::warn!(
                shard = self.id.0,
                "an event was lost: the control thread does not read"
            );
        }
    }

    /// Sends to another shard, or to this one by the same way.
    fn write_to(&mut self, shard: ShardId, letter: ToShard) {
        if self.outbox.send(shard, letter).is_err() {
            tracing::warn!(
                from = self.id.0,
                to = shard.0,
                "a letter was lost: the shard does not read"
            );
        }
    }

    fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let count = u16::try_from(self.outbox.mesh().shards()).expect("MAX_SHARDS fits");
        let me = self.id;
        (0..count).map(ShardId).filter(move |shard| *shard != me)
    }
}
