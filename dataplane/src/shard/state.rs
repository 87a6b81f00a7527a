//! The state of a shard, grouped by concern. Nothing here is shared or locked, and no call blocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use spillway_wire::demux::{Protocol, protocol};
use spillway_wire::stun::TransactionId;

use super::dirty::DirtySet;
use super::egress::Egress;
use super::forwarding::Forwarding;
use super::link_table::Links;
use super::peer_table::PeerTable;
use super::periodic::Periodic;
use super::track_table::TrackTable;
use crate::drop_reason::DropReason;
use crate::ice::candidates::Candidates;
use crate::ice::credentials::IceKey;
use crate::io::entropy::Entropy;
use crate::io::timers::Timers;
use crate::key::{SessionIndex, ShardId, TrackKey};
use crate::media::packet::MediaPacket;
use crate::mesh::mailbox::{Mesh, Outbox};
use crate::peer::output::{Output, PeerEvent};
use crate::peer::paths::Checked;
use crate::report::ShardReport;
use crate::send::queue::SendPath;
use crate::stream::Streams;

/// State of one shard.
pub struct Shard {
    /// Number of the shard.
    pub id: ShardId,
    /// ICE credentials and candidates of the node.
    pub ice: Ice,
    /// Random source of the shard.
    pub(crate) entropy: Entropy,
    /// Sessions on this shard.
    pub peers: PeerTable,
    /// Tracks with a publisher or subscriber on this shard.
    pub tracks: TrackTable,
    /// Deadlines of the sessions.
    pub timers: Timers,
    /// Mailboxes of the other threads.
    pub outbox: Outbox,
    /// Counters of the shard.
    pub report: ShardReport,
    /// Outputs of sessions while they are driven; empty between calls.
    pub out: Output,
    /// Events of sessions that the loop has not handled yet.
    pub(crate) events: Vec<(SessionIndex, PeerEvent)>,
    /// Media between receive and seal.
    pub forwarding: Forwarding,
    /// Tracks with unanswered keyframe requests.
    pub(crate) awaiting_keyframes: Vec<TrackKey>,
    /// Links to other nodes.
    pub links: Links,
    /// Subscribers whose layers must be chosen again.
    pub(crate) dirty: DirtySet,
    /// Outgoing queues: media sockets, TURN, streams, and next hops of addresses.
    pub egress: Egress,
    /// Load of the shard.
    pub load: Load,
    /// Times of periodic work.
    pub(crate) periodic: Periodic,
    /// Wall clock at the start of this turn, seconds since 1970, for timestamps outside of this process.
    pub(crate) unix_s: u64,
    /// True after the command to stop.
    pub(crate) stopping: bool,
}

/// Parts of a new shard.
pub struct Setup {
    /// Number of the shard.
    pub id: ShardId,
    /// The mailboxes of the process.
    pub mesh: Arc<Mesh>,
    /// ICE credentials and candidates of the node.
    pub ice: Ice,
    /// TCP and TLS listeners of the shard.
    pub streams: Streams,
    /// Random source of the shard.
    pub entropy: Entropy,
}

/// ICE key and candidates, the same for all sessions of a node.
pub struct Ice {
    /// Key that verifies connectivity checks.
    pub key: IceKey,
    /// Addresses that the node advertises.
    pub candidates: Candidates,
}

/// Signs of overload on the shard.
#[derive(Debug, Default)]
pub struct Load {
    /// True when the shard has not slept for a while: CPU time is scarce.
    pub is_busy: bool,
    /// True when a socket had no room for all waiting datagrams.
    pub is_blocked: bool,
}

impl Shard {
    /// A shard without sessions.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let Setup {
            id,
            mesh,
            ice,
            streams,
            entropy,
        } = setup;
        Self {
            id,
            ice,
            entropy,
            peers: PeerTable::default(),
            tracks: TrackTable::default(),
            timers: Timers::default(),
            outbox: Outbox::new(mesh),
            report: ShardReport::new(id),
            out: Output::default(),
            events: Vec::new(),
            forwarding: Forwarding::default(),
            awaiting_keyframes: Vec::new(),
            links: Links::default(),
            dirty: DirtySet::default(),
            egress: Egress::new(streams),
            load: Load::default(),
            periodic: Periodic::new(now),
            unix_s: 0,
            stopping: false,
        }
    }

    /// Handles the outputs of session `index`: queues its datagrams, collects its media, events and drops, and sets its
    /// timer.
    pub fn absorb(&mut self, index: SessionIndex) {
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
            let protocol = protocol(&transmit.contents);
            if protocol == Some(Protocol::Dtls) {
                peer.paths.handshake_sent(destination);
            }
            let local = match protocol {
                Some(Protocol::Stun) => peer.paths.local_for_response(destination),
                Some(_) | None => peer.paths.local_for(destination),
            };
            let path = SendPath {
                remote: destination,
                local,
            };
            let queue = self.egress.queues.to(destination);
            queue.push(&transmit.contents, path.datagram(bytes), &mut self.report);
        }
        self.forwarding.inbox.append(&mut self.out.packets);
        self.events
            .extend(self.out.events.drain(..).map(|event| (index, event)));
        self.report.drops.add(&std::mem::take(&mut self.out.drops));
        self.timers.set(index.0, peer.deadline());
    }

    /// Adds `packet` to the backlog for subscribers of this shard. Drops it when the backlog is full.
    pub fn forward_later(&mut self, packet: MediaPacket, now: Instant) {
        if !self.forwarding.backlog.push(packet, now) {
            self.report.drops.count(DropReason::BacklogFull);
        }
    }

    /// Runs `work` for session `index`. A panic in `work` ends this session, not the shard.
    pub fn guard(&mut self, index: SessionIndex, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err()
            && let Some(peer) = self.peers.get_mut(index)
        {
            peer.panicked(&mut self.out);
            self.absorb(index);
        }
    }

    /// Lets session `index` receive from the source address of `check`, a verified connectivity check.
    pub(crate) fn receive_from(
        &mut self,
        index: SessionIndex,
        check: Checked,
        now: Instant,
    ) -> Result<(), DropReason> {
        let transaction = TransactionId(self.entropy.bytes());
        if let Some(given_up) = self.peers.add_addr(index, check, transaction, now)? {
            self.egress.next_hops.forget(given_up);
        }
        Ok(())
    }
}
