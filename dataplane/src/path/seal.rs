//! Hop 6: encrypts packets for each subscriber, directly into the send arena. Previous: [`super::number`], next:
//! [`super::transmit`].
//!
//! All waiting packets of a session are sealed together, so that they are adjacent in memory and form as few runs as
//! possible. One turn of the loop serves a share of the sessions; the loop reads the sockets before it serves the
//! others.

use std::time::Instant;

use super::number::number;
use crate::drop_reason::DropReason;
use crate::io::sys::prefetch;
use crate::key::SessionIndex;
use crate::limits::{BUSY_PADDING_BYTES, IDLE_PADDING_BYTES, PACKETS_PER_TURN, SESSIONS_PER_TURN};
use crate::peer::subscribe::Subscriber;
use crate::send::queue::SendPath;
use crate::send::run::cut;
use crate::send::stream::Keys;
use crate::shard::backlog::Backlog;
use crate::shard::forwarding::Numbered;
use crate::shard::state::Shard;

/// How many sessions ahead of the current one each prefetch is done; memory needs a few microseconds to arrive.
const FAR: usize = 6;
const NEAR: usize = 4;
const NEXT: usize = 2;
const LAST: usize = 1;
/// Maximum number of cache lines of a session that sending touches.
const PEER_LINES: usize = 5;

/// Number of sessions and packets sealed in this turn of the loop.
#[derive(Debug, Default, Clone, Copy)]
pub struct Share {
    sessions: usize,
    packets: usize,
}

impl Share {
    /// True when the turn has sealed its share.
    pub fn is_done(&self) -> bool {
        self.sessions >= SESSIONS_PER_TURN || self.packets >= PACKETS_PER_TURN
    }

    /// True after twice the share without a full batch: the socket is full, or the packets have no receiver.
    fn is_over_limit(&self) -> bool {
        self.sessions >= 2 * SESSIONS_PER_TURN || self.packets >= 2 * PACKETS_PER_TURN
    }
}

/// Seals for one session after the other. Returns true when a batch is full; false when no session waits, or after
/// twice the share of a turn.
pub fn seal(shard: &mut Shard, now: Instant, share: &mut Share) -> bool {
    while !share.is_over_limit() {
        let forwarding = &mut shard.forwarding;
        let Some(index) = forwarding.schedule.take(&mut forwarding.pending) else {
            return false;
        };
        prefetch_next(shard);
        seal_for(shard, index, now);
        share.sessions += 1;
        share.packets += shard.forwarding.numbered.len();
        if shard.egress.queues.has_full_batch() {
            return true;
        }
    }
    false
}

/// Seals the waiting packets of session `index` immediately.
pub fn seal_now(shard: &mut Shard, index: SessionIndex, now: Instant) {
    let forwarding = &mut shard.forwarding;
    forwarding.schedule.take_of(index, &mut forwarding.pending);
    seal_for(shard, index, now);
}

/// Numbers and seals the packets in `forwarding.pending` for session `index`.
fn seal_for(shard: &mut Shard, index: SessionIndex, now: Instant) {
    let is_blocked = shard.egress.queues.is_blocked();
    let max_padding = if shard.load.is_busy && !is_blocked {
        BUSY_PADDING_BYTES
    } else {
        IDLE_PADDING_BYTES
    };
    shard.guard(index, |shard| {
        if let Some(path) = number(shard, index, now) {
            write(shard, index, path, max_padding, now);
        }
    });
}

/// Prefetches the memory of the next sessions, one level of pointers for each step of distance.
fn prefetch_next(shard: &mut Shard) {
    let (schedule, peers) = (&shard.forwarding.schedule, &mut shard.peers);
    if let Some(peer) = schedule.ahead(FAR).and_then(|index| peers.get(index)) {
        prefetch(peer, PEER_LINES);
    }
    if let Some(peer) = schedule.ahead(NEAR).and_then(|index| peers.get(index)) {
        peer.prefetch();
    }
    if let Some(peer) = schedule.ahead(NEXT).and_then(|index| peers.get_mut(index))
        && let Some(subscriber) = peer.subscriber()
    {
        subscriber.prefetch();
    }
    if let Some(peer) = schedule.ahead(LAST).and_then(|index| peers.get_mut(index))
        && let Some(subscriber) = peer.subscriber()
    {
        subscriber.prefetch_codecs();
    }
}

/// Writes the numbered packets of session `index` to the send queue, run by run.
fn write(shard: &mut Shard, index: SessionIndex, path: SendPath, max_padding: usize, now: Instant) {
    let Shard {
        peers,
        forwarding,
        egress,
        report,
        timers,
        ..
    } = shard;
    let Some(peer) = peers.get_mut(index) else {
        return;
    };
    let Some(subscriber) = peer.subscriber() else {
        return;
    };
    let queue = egress.queues.to(path.remote);
    let mut rest = &forwarding.numbered[..];
    while !rest.is_empty() {
        let cut = cut(
            rest.iter().map(|numbered| numbered.planned.bytes),
            max_padding,
        );
        let (run, after) = rest.split_at(cut.packets);
        rest = after;
        let last = run[run.len() - 1].planned.bytes;
        let bytes = cut.segment_bytes * (run.len() - 1) + last;
        let Some(room) = queue.room(bytes) else {
            report
                .drops
                .count_many(DropReason::SendBufferFull, run.len());
            continue;
        };
        write_run(
            subscriber,
            room,
            run,
            cut.segment_bytes,
            &forwarding.backlog,
            now,
        );
        let plain: usize = run.iter().map(|numbered| numbered.planned.bytes).sum();
        report.padding_bytes += (bytes - plain) as u64;
        let arrived = Some(forwarding.backlog.packet(run[0].packet).arrived);
        queue.commit(path.run(bytes, cut.segment_bytes, arrived), report);
    }
    let deadline = peer.deadline();
    timers.set(index.0, deadline);
}

fn write_run(
    subscriber: &mut Subscriber,
    room: &mut [u8],
    run: &[Numbered],
    segment_bytes: usize,
    backlog: &Backlog,
    now: Instant,
) {
    let Subscriber { slots, send, .. } = subscriber;
    let Some((sealer, estimator)) = send.keys() else {
        unreachable!("what is planned has keys");
    };
    let mut keys = Keys {
        sealer,
        estimator,
        now,
    };
    for (numbered, room) in run.iter().zip(room.chunks_mut(segment_bytes)) {
        let packet = backlog.packet(numbered.packet);
        let stream = &mut slots[numbered.slot].stream;
        stream.write(room, numbered.planned, packet, &mut keys);
    }
}
