//! Sealed datagrams that wait for their socket, adjacent in an arena. No IO: hop 7 of the path sends them.
//!
//! A *run* is sent to one destination as one message: datagrams of equal size, the last may be shorter (UDP_SEGMENT).
//! The main cost of a packet is its path through the kernel's network stack, and a run passes it once. While the socket
//! is full, whole frames are dropped before they are sealed, the lowest layers first.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::io::sys::Message;
use crate::io::udp::Family;
use crate::key::LayerIndex;
use crate::limits::{
    MAX_DESTINATIONS_WITHOUT_RUNS, MAX_LAYERS, MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, SEND_ARENA_BYTES,
    SEND_BATCH, SEND_BATCH_BYTES,
};
use crate::report::ShardReport;

/// Size and addresses of the datagrams of one message, adjacent in the arena.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Bytes of all datagrams together.
    pub bytes: usize,
    /// Bytes of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
    /// Address of the receiver.
    pub destination: SocketAddr,
    /// The local address to send from.
    pub source: Option<IpAddr>,
    /// Arrival time of the forwarded media; `None` for handshakes and reports.
    pub arrived: Option<Instant>,
}

/// Datagrams that wait for one socket.
pub struct SendQueue {
    pub(crate) arena: Box<[u8]>,
    pub(crate) used: usize,
    pub(crate) runs: Vec<Placed>,
    /// Number of runs at the front of `runs` that were sent.
    pub(crate) sent_runs: usize,
    /// Number of runs that [`take_redirected`](Self::take_redirected) has already checked.
    pub(crate) checked_runs: usize,
    /// Destinations for which the path or device refused a run.
    pub(crate) without_runs: HashSet<SocketAddr>,
    /// True if the socket had no room at the last attempt.
    pub(crate) blocked: bool,
}

/// A run and its place in the arena.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    pub(crate) at: usize,
    /// Size and addresses of the run.
    pub run: Run,
    /// True if the kernel refused the run once.
    pub was_refused: bool,
}

/// A run with its datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams<'a> {
    /// Sizes and destination of the run.
    pub run: &'a Run,
    /// Bytes of all datagrams, one after another.
    pub bytes: &'a [u8],
}

impl<'a> Datagrams<'a> {
    /// Each datagram of the run.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.run.segment_bytes.max(1))
    }
}

impl Run {
    /// Number of datagrams in the run.
    pub fn datagrams(&self) -> usize {
        self.bytes.div_ceil(self.segment_bytes.max(1)).max(1)
    }
}

impl Placed {
    /// Each datagram as a run of its own.
    pub fn datagrams(self) -> impl Iterator<Item = Self> {
        datagrams(self.at, self.run)
    }

    pub(crate) fn new(at: usize, run: Run) -> Self {
        Self {
            at,
            run,
            was_refused: false,
        }
    }

    /// True when a datagram at offset `at` of the arena can be appended to the run.
    fn takes(&self, at: usize, bytes: usize, next: &Run) -> bool {
        let run = &self.run;
        let is_whole = run.bytes.is_multiple_of(run.segment_bytes.max(1));
        self.at + run.bytes == at
            && (run.destination, run.source) == (next.destination, next.source)
            && is_whole
            && bytes <= run.segment_bytes
            && run.bytes + bytes <= MAX_RUN_BYTES
            && run.datagrams() < MAX_RUN_DATAGRAMS
    }

    fn message<'a>(&self, arena: &'a [u8]) -> Message<'a> {
        let run = &self.run;
        let is_joined = run.bytes > run.segment_bytes;
        let segment = u16::try_from(run.segment_bytes).ok();
        Message {
            bytes: &arena[self.at..self.at + run.bytes],
            destination: run.destination,
            source: run.source,
            segment_bytes: segment.filter(|_| is_joined),
            frame: None,
        }
    }
}

impl SendQueue {
    /// Allocates the arena of the queue.
    pub fn new() -> Self {
        Self {
            arena: vec![0; SEND_ARENA_BYTES].into_boxed_slice(),
            used: 0,
            runs: Vec::new(),
            sent_runs: 0,
            checked_runs: 0,
            without_runs: HashSet::new(),
            blocked: false,
        }
    }

    /// The free space for `bytes` at the end of the arena; `None` if there is not enough. [`commit`](Self::commit)
    /// queues the written bytes.
    pub fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        self.arena.get_mut(self.used..self.used + bytes)
    }

    /// Queues the bytes written to the last [`room`](Self::room) as `run`.
    pub fn commit(&mut self, run: Run, report: &mut ShardReport) {
        let at = self.used;
        self.used += run.bytes;
        if self.without_runs.is_empty() || !self.without_runs.contains(&run.destination) {
            report.runs.record(run.datagrams());
            self.runs.push(Placed::new(at, run));
        } else {
            self.runs.extend(datagrams(at, run));
            (0..run.datagrams()).for_each(|_| report.runs.record(1));
        }
    }

    /// Queues a datagram as a run of its own; drops it when the arena is full.
    pub fn push(&mut self, contents: &[u8], run: Run, report: &mut ShardReport) {
        match self.room(contents.len()) {
            Some(room) => {
                room.copy_from_slice(contents);
                self.commit(run, report);
            }
            None => report.drops.count(DropReason::SendBufferFull),
        }
    }

    /// Queues a datagram made of `parts`: appended to the last run if destination and size allow, else as a run of its
    /// own. Drops it when the arena is full.
    pub fn join(&mut self, parts: [&[u8]; 3], run: Run, report: &mut ShardReport) {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let Some(room) = self.room(bytes) else {
            return report.drops.count(DropReason::SendBufferFull);
        };
        let mut rest = room;
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        let at = self.used;
        self.used += bytes;
        let last = self.runs[self.sent_runs..].last_mut();
        match last.filter(|last| last.takes(at, bytes, &run)) {
            Some(last) if !self.without_runs.contains(&run.destination) => last.run.bytes += bytes,
            Some(_) | None => self.runs.push(Placed::new(
                at,
                Run {
                    bytes,
                    segment_bytes: bytes,
                    ..run
                },
            )),
        }
    }

    /// Removes each new run for which `takes` returns true.
    pub fn take_redirected(&mut self, mut takes: impl FnMut(&Run, &[u8]) -> bool) {
        let mut kept = self.checked_runs;
        for index in self.checked_runs..self.runs.len() {
            let placed = self.runs[index];
            let Placed { at, run, .. } = &placed;
            if !takes(run, &self.arena[*at..*at + run.bytes]) {
                self.runs[kept] = placed;
                kept += 1;
            }
        }
        self.runs.truncate(kept);
        self.checked_runs = kept;
        self.free_sent();
    }

    /// True when a full batch waits: sending it now is cheapest, because it is in the cache.
    pub fn has_full_batch(&self) -> bool {
        let is_full = self.runs.len() >= SEND_BATCH || self.used >= SEND_BATCH_BYTES;
        is_full && !self.blocked
    }

    /// True if the socket had no room at the last attempt.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// True if new frames of `layer` should be dropped before sealing: the socket is full, and more bytes wait than the
    /// limit of the layer. Limits are a quarter of the arena apart, lowest layer first.
    pub fn must_drop(&self, layer: LayerIndex) -> bool {
        let quarter = self.arena.len() / (MAX_LAYERS + 1);
        self.blocked && self.waiting_bytes() > quarter * (layer.index() + 1)
    }

    fn waiting_bytes(&self) -> usize {
        let first = self.runs.get(self.sent_runs);
        first.map_or(0, |placed| self.used - placed.at)
    }

    /// True when a run waits.
    pub fn has_waiting(&self) -> bool {
        self.sent_runs < self.runs.len()
    }

    /// Waiting runs as messages for the kernel, in order.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> + Clone {
        let waiting = self.runs[self.sent_runs..].iter();
        waiting.map(|placed| placed.message(&self.arena))
    }

    /// The run of waiting message `index`.
    pub fn waiting(&self, index: usize) -> Placed {
        self.runs[self.sent_runs + index]
    }

    /// Sets whether the socket is full.
    pub fn set_socket_full(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Removes the first `tried` waiting runs, and puts `again` in their place.
    pub fn tried(&mut self, tried: usize, again: Vec<Placed>) {
        if again.is_empty() {
            self.sent_runs += tried;
            return;
        }
        let first = self.sent_runs;
        let unseen = self.runs.len() - self.checked_runs;
        self.runs.splice(first..first + tried, again);
        self.checked_runs = self.runs.len().saturating_sub(unseen);
    }

    /// Sends each datagram to `destination` as a message of its own from now on.
    pub fn refuse_runs(&mut self, destination: SocketAddr) {
        if self.without_runs.len() >= MAX_DESTINATIONS_WITHOUT_RUNS {
            self.without_runs.clear(); // destinations that refuse runs will be detected again
        }
        self.without_runs.insert(destination);
    }

    /// Frees the arena space of sent runs.
    pub fn free_sent(&mut self) {
        if self.sent_runs == self.runs.len() {
            self.runs.clear();
            (self.sent_runs, self.checked_runs, self.used) = (0, 0, 0);
            return;
        }
        self.runs.drain(..self.sent_runs);
        self.checked_runs = self.checked_runs.saturating_sub(self.sent_runs);
        self.sent_runs = 0;
        let first = self.runs[0].at;
        if first > self.arena.len() / (2 * (MAX_LAYERS + 1)) {
            self.arena.copy_within(first..self.used, 0);
            self.runs.iter_mut().for_each(|placed| placed.at -= first);
            self.used -= first;
        }
    }
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Each datagram of `run` as a run of its own.
fn datagrams(at: usize, run: Run) -> impl Iterator<Item = Placed> {
    (0..run.datagrams()).map(move |index| {
        let start = index * run.segment_bytes;
        let bytes = run.segment_bytes.min(run.bytes - start);
        let alone = Run {
            bytes,
            segment_bytes: bytes,
            ..run
        };
        Placed::new(at + start, alone)
    })
}

/// Send queues of the IPv4 and the IPv6 socket of one port.
#[derive(Default)]
pub struct SendQueues {
    v4: SendQueue,
    v6: SendQueue,
}

impl SendQueues {
    /// The queue of the socket for the address family of `destination`.
    pub fn to(&mut self, destination: SocketAddr) -> &mut SendQueue {
        match destination {
            SocketAddr::V4(_) => &mut self.v4,
            SocketAddr::V6(_) => &mut self.v6,
        }
    }

    /// True if new frames of `layer` to `destination` should be dropped; see [`SendQueue::must_drop`].
    pub fn must_drop(&self, destination: SocketAddr, layer: LayerIndex) -> bool {
        match destination {
            SocketAddr::V4(_) => self.v4.must_drop(layer),
            SocketAddr::V6(_) => self.v6.must_drop(layer),
        }
    }

    /// True when a queue has a full batch.
    pub fn has_full_batch(&self) -> bool {
        self.v4.has_full_batch() || self.v6.has_full_batch()
    }

    /// True when one of the sockets had no room at the last attempt.
    pub fn is_blocked(&self) -> bool {
        self.v4.is_blocked() || self.v6.is_blocked()
    }

    /// Both queues with their address families.
    pub fn by_family(&mut self) -> [(Family, &mut SendQueue); 2] {
        [(Family::V4, &mut self.v4), (Family::V6, &mut self.v6)]
    }
}

/// Addresses of the packets of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendPath {
    /// Address of the client.
    pub remote: SocketAddr,
    /// Our address that packets must be sent from; `None`: the kernel chooses.
    pub local: Option<IpAddr>,
}

impl SendPath {
    /// A run of `bytes` on this path, in datagrams of `segment_bytes`, with media that `arrived` at that time.
    pub fn run(self, bytes: usize, segment_bytes: usize, arrived: Option<Instant>) -> Run {
        Run {
            bytes,
            segment_bytes,
            destination: self.remote,
            source: self.local,
            arrived,
        }
    }

    /// A run of one datagram of `bytes` on this path.
    pub fn datagram(self, bytes: usize) -> Run {
        self.run(bytes, bytes, None)
    }
}

/// What the sealing of a session's packets needs: queue, addresses, time and counters.
pub struct SendContext<'a> {
    /// The send queue of the session's destination.
    pub queue: &'a mut SendQueue,
    /// Remote and local address of the packets.
    pub path: SendPath,
    /// Time when the packets leave.
    pub now: Instant,
    /// Counters of the shard.
    pub report: &'a mut ShardReport,
}
