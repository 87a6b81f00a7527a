//! Hop 7: datagrams to the kernel, in runs and batches. Comes from [`super::seal`].
//!
//! A *run* is what goes to one destination in one message: datagrams of equal size, the last may be
//! shorter (UDP_SEGMENT). What a packet costs is its trip through the kernel's network stack, and a run
//! makes one. Never blocks: what the send buffer has no room for stays in the arena, and while it does,
//! whole frames are shed before they are sealed, the lowest layers first.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::io::clock;
use crate::io::engine::Engine;
use crate::io::sys::{Message, refuses_runs};
use crate::key::LayerIndex;
use crate::limits::{
    MAX_DESTINATIONS_WITHOUT_RUNS, MAX_LAYERS, MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, SEND_ARENA_BYTES,
    SEND_BATCH, SEND_BATCH_BYTES,
};
use crate::report::ShardReport;

/// Datagrams of one destination on their way out, next to each other in the arena.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Of all datagrams together.
    pub bytes: usize,
    /// Of each datagram but the last.
    pub segment_bytes: usize,
    /// Who shall get it.
    pub destination: SocketAddr,
    /// The local address to send from.
    pub source: Option<IpAddr>,
    /// When the media in it arrived; `None` for handshakes and reports.
    pub arrived: Option<Instant>,
}

/// What waits to be sent through one socket.
pub struct Departures {
    arena: Box<[u8]>,
    used: usize,
    runs: Vec<Placed>,
    /// As many of the runs as are gone already.
    gone: usize,
    /// As many of the runs as were looked at by [`divert`](Self::divert).
    seen: usize,
    /// Destinations whose path or device refused a run once.
    without_runs: HashSet<SocketAddr>,
    /// The socket had no room when it was last asked.
    blocked: bool,
}

/// A run and where it lies.
#[derive(Debug, Clone, Copy)]
struct Placed {
    at: usize,
    run: Run,
    /// The kernel refused it once.
    was_refused: bool,
}

impl Run {
    /// How many datagrams it is.
    pub fn datagrams(&self) -> usize {
        self.bytes.div_ceil(self.segment_bytes.max(1)).max(1)
    }
}

impl Placed {
    fn new(at: usize, run: Run) -> Self {
        Self {
            at,
            run,
            was_refused: false,
        }
    }

    /// True when a datagram at `at` can be its next.
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

impl Departures {
    /// Allocates the arena.
    pub fn new() -> Self {
        Self {
            arena: vec![0; SEND_ARENA_BYTES].into_boxed_slice(),
            used: 0,
            runs: Vec::new(),
            gone: 0,
            seen: 0,
            without_runs: HashSet::new(),
            blocked: false,
        }
    }

    /// Room for `bytes` at the end of the arena; [`commit`](Self::commit) makes them a run.
    pub fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        self.arena.get_mut(self.used..self.used + bytes)
    }

    /// What was written to the last [`room`](Self::room) leaves as `run`.
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

    /// Adds a datagram of its own; drops it when there is no room.
    pub fn push(&mut self, contents: &[u8], run: Run, report: &mut ShardReport) {
        match self.room(contents.len()) {
            Some(room) => {
                room.copy_from_slice(contents);
                self.commit(run, report);
            }
            None => report.drops.count(DropReason::SendBufferFull),
        }
    }

    /// Adds a datagram of `parts` to `run`'s destination: to the last run, if that goes there and has
    /// datagrams as long, else as a run of its own. Drops it when there is no room.
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
        let last = self.runs[self.gone..].last_mut();
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

    /// Takes out what `takes` says yes to, of what was added since it was last asked.
    pub fn divert(&mut self, mut takes: impl FnMut(&Run, &[u8]) -> bool) {
        let mut kept = self.seen;
        for index in self.seen..self.runs.len() {
            let placed = self.runs[index];
            let Placed { at, run, .. } = &placed;
            if !takes(run, &self.arena[*at..*at + run.bytes]) {
                self.runs[kept] = placed;
                kept += 1;
            }
        }
        self.runs.truncate(kept);
        self.seen = kept;
        self.tidy();
    }

    /// A batch is full: better to send it now, while it is in the cache.
    pub fn is_ripe(&self) -> bool {
        let is_full = self.runs.len() >= SEND_BATCH || self.used >= SEND_BATCH_BYTES;
        is_full && !self.blocked
    }

    /// The socket had no room when it was last asked.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The socket has no room, and so much waits already that new frames of `layer` are not worth
    /// sealing: the lowest layers go first, a quarter of the arena apart.
    pub fn sheds(&self, layer: LayerIndex) -> bool {
        let quarter = self.arena.len() / (MAX_LAYERS + 1);
        self.blocked && self.waiting_bytes() > quarter * (layer.index() + 1)
    }

    fn waiting_bytes(&self) -> usize {
        let first = self.runs.get(self.gone);
        first.map_or(0, |placed| self.used - placed.at)
    }

    /// Sends what waits through `socket`. True when some of it still does.
    pub fn flush(&mut self, engine: &mut Engine, socket: usize, report: &mut ShardReport) -> bool {
        self.blocked = false;
        while self.gone < self.runs.len() && !self.blocked {
            let arena = &self.arena;
            let waiting = self.runs[self.gone..].iter();
            let tried = engine.send(socket, waiting.map(|placed| placed.message(arena)));
            match tried {
                Ok(tried) => self.account(engine, tried, report),
                Err(error) => {
                    tracing::error!(%error, "the engine does not send");
                    self.blocked = true;
                }
            }
        }
        self.tidy();
        self.blocked
    }

    /// The first `tried` runs are sent, or have to be tried again, or are lost.
    fn account(&mut self, engine: &Engine, tried: usize, report: &mut ShardReport) {
        let first = self.gone;
        let now = clock::now();
        let mut again = Vec::new();
        for index in 0..tried {
            let placed = self.runs[first + index];
            match engine.result(index) {
                Ok(()) => {
                    report.frames += u64::from(engine.is_framed(index));
                    sent(&placed.run, now, report);
                }
                Err(error) if is_full(&error) => {
                    self.blocked = true;
                    again.push(placed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => again.push(placed),
                Err(error) => again.extend(self.refused(placed, &error, report)),
            }
        }
        if again.is_empty() {
            self.gone += tried;
            return;
        }
        let unseen = self.runs.len() - self.seen;
        self.runs.splice(first..first + tried, again);
        self.seen = self.runs.len().saturating_sub(unseen);
    }

    /// The kernel refused `placed`: what of it to try again. An error may be left over from an earlier
    /// destination, so a datagram is given up at the second one.
    fn refused(
        &mut self,
        placed: Placed,
        error: &io::Error,
        report: &mut ShardReport,
    ) -> Vec<Placed> {
        let Placed {
            at,
            run,
            was_refused,
        } = placed;
        tracing::trace!(%error, to = %run.destination, "send");
        if run.bytes > run.segment_bytes && refuses_runs(error) {
            report.refused_runs += 1;
            if self.without_runs.len() >= MAX_DESTINATIONS_WITHOUT_RUNS {
                self.without_runs.clear(); // they will be found out again
            }
            self.without_runs.insert(run.destination);
            return datagrams(at, run).collect();
        }
        if was_refused {
            report
                .drops
                .count_many(DropReason::SendRefused, run.datagrams());
            return Vec::new();
        }
        vec![Placed {
            was_refused: true,
            ..placed
        }]
    }

    /// Makes the room of what is gone free again.
    fn tidy(&mut self) {
        if self.gone == self.runs.len() {
            self.runs.clear();
            (self.gone, self.seen, self.used) = (0, 0, 0);
            return;
        }
        self.runs.drain(..self.gone);
        self.seen = self.seen.saturating_sub(self.gone);
        self.gone = 0;
        let first = self.runs[0].at;
        if first > self.arena.len() / (2 * (MAX_LAYERS + 1)) {
            self.arena.copy_within(first..self.used, 0);
            self.runs.iter_mut().for_each(|placed| placed.at -= first);
            self.used -= first;
        }
    }
}

impl Default for Departures {
    fn default() -> Self {
        Self::new()
    }
}

/// The datagrams of `run`, each as a run of its own.
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

/// The send buffer of the socket or the queue of the device is full.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn sent(run: &Run, now: Instant, report: &mut ShardReport) {
    let datagrams = run.datagrams() as u64;
    report.traffic.packets_out += datagrams;
    report.traffic.bytes_out += run.bytes as u64;
    if let Some(arrived) = run.arrived {
        let time = now.saturating_duration_since(arrived);
        report.latency.record(time, datagrams);
    }
}

#[cfg(test)]
mod tests;
