//! The state of a data plane, and its turns in one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spillway_dataplane::control::Control;
use spillway_dataplane::io::simulated::SendLimits;
use spillway_dataplane::mesh::mailbox::Mesh;
use spillway_dataplane::report::ShardReport;
use spillway_wire::dataplane as proto;
use tokio::sync::broadcast;

use super::pending::{Pending, StreamId};
use super::worker::{MAX_TURNS, Worker};
use crate::clock::Time;
use crate::fault::{Fault, FaultKind};
use crate::network::Datagram;
use crate::rng::Seed;
use crate::violation::Violation;

/// A data plane with its shards.
pub struct Node {
    pub(super) addr: SocketAddr,
    pub(super) seed: Seed,
    pub(super) control: Control,
    pub(super) mesh: Arc<Mesh>,
    pub(super) workers: Vec<Worker>,
    /// Shard of each client address, as the kernel's hash would choose it.
    pub(super) shard_by_source: BTreeMap<SocketAddr, usize>,
    pub(super) pending: Vec<Pending>,
    pub(super) watchers: BTreeMap<StreamId, broadcast::Receiver<proto::Event>>,
    pub(super) next_tick: Time,
}

/// An item of a stream of events.
#[derive(Debug)]
pub enum StreamItem {
    /// The next event of the node.
    Event(proto::event::Event),
    /// Events were missed; the stream ends.
    Ended,
}

/// Interval of the control thread's deadline checks.
const CONTROL_TICK: Duration = Duration::from_millis(50);

impl Node {
    /// Address of the node's media.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Number of shards of the node.
    pub fn shards(&self) -> usize {
        self.workers.len()
    }

    /// Counters of the shards.
    pub fn reports(&self) -> impl Iterator<Item = &ShardReport> {
        self.workers.iter().map(Worker::report)
    }

    /// Sets the faults inside the node that are active now; their targets are numbers of shards.
    pub fn set_faults(&mut self, active: &[Fault]) {
        let count = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let own = active
                .iter()
                .filter(|fault| fault.target as usize % count == index);
            let amount = |kind: FaultKind| {
                let mut of_kind = own.clone().filter(|fault| fault.kind == kind);
                of_kind.next().map(|fault| fault.amount)
            };
            worker.is_stalled = amount(FaultKind::StalledShard).is_some();
            let late_ms = amount(FaultKind::LateTimers).unwrap_or(0);
            worker.late = Duration::from_millis(u64::from(late_ms));
            worker.limits = SendLimits {
                room_bytes: amount(FaultKind::FullSocket).map(|bytes| bytes as usize),
                refuses_runs: false,
            };
        }
    }

    /// Puts a datagram of a client into the receive buffer of its shard.
    pub fn arrive(&mut self, datagram: Datagram) {
        let (seed, count) = (self.seed, self.workers.len() as u64);
        let source = datagram.from;
        let shard = *self
            .shard_by_source
            .entry(source)
            .or_insert_with(|| (seed.number(&format!("steering {source}")) % count) as usize);
        self.workers[shard].arrive(datagram);
    }

    /// All threads work until nothing is left to do at `now`. Returns what was sent.
    pub fn run(&mut self, now: Time, violations: &mut Vec<Violation>) -> Vec<Datagram> {
        let mut sent = Vec::new();
        self.control.read_mail(now.instant());
        if self.next_tick <= now {
            self.next_tick = now + CONTROL_TICK;
            self.control.tick(now.instant());
        }
        for _ in 0..MAX_TURNS {
            let mut had_work = false;
            for worker in &mut self.workers {
                if worker.is_due(&self.mesh, now) {
                    had_work = true;
                    worker.work(now, violations);
                    worker.take_sent(self.addr, &mut sent);
                    worker.check(now, violations);
                }
            }
            self.control.read_mail(now.instant());
            if !had_work {
                return sent;
            }
        }
        violations.push(Violation {
            at: now,
            invariant: 9,
            seen: "the shards send letters to each other without end".to_owned(),
        });
        sent
    }

    /// Time at which the node has something to do.
    pub fn next_at(&self) -> Time {
        let workers = self.workers.iter();
        let due = workers.filter_map(|worker| worker.due_at(&self.mesh));
        due.fold(self.next_tick, Time::min)
    }

    /// The next item of a server's stream of events.
    pub fn poll_event(&mut self) -> Option<(StreamId, StreamItem)> {
        let mut ended = BTreeSet::new();
        let mut item = None;
        for (id, events) in &mut self.watchers {
            match events.try_recv() {
                Ok(proto::Event { event: Some(event) }) => {
                    item = Some((*id, StreamItem::Event(event)));
                    break;
                }
                Ok(proto::Event { event: None }) | Err(broadcast::error::TryRecvError::Empty) => {}
                Err(
                    broadcast::error::TryRecvError::Lagged(_)
                    | broadcast::error::TryRecvError::Closed,
                ) => {
                    ended.insert(*id);
                    item = Some((*id, StreamItem::Ended));
                    break;
                }
            }
        }
        self.watchers.retain(|id, _| !ended.contains(id));
        item
    }

    /// Ends a stream of events: its connection broke.
    pub fn unwatch(&mut self, stream: StreamId) {
        self.watchers.remove(&stream);
    }
}
