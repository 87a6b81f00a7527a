//! Hop 6: encryption for each subscriber, straight into the send arena. Comes from [`super::fanout`],
//! goes to [`super::transmit`].
//!
//! A session that is sealed for gets everything that waits for it, so that its packets lie next to each
//! other and leave as few runs as possible. A turn of the loop seals for some sessions, and for the others
//! after it has looked at what came in.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use spillway_wire::demux::{Protocol, protocol};

use crate::drop_reason::DropReason;
use crate::io::sys::prefetch;
use crate::limits::{BUSY_PADDING_BYTES, IDLE_PADDING_BYTES, PACKETS_PER_TURN, SESSIONS_PER_TURN};
use crate::media::packet::MediaPacket;
use crate::media::subscription::Verdict;
use crate::path::transmit::{Departures, Run};
use crate::peer::{Peer, Slot, Subscriber};
use crate::report::ShardReport;
use crate::send::Due;
use crate::send::run::cut;
use crate::send::stream::{Keys, Planned};
use crate::shard::Shard;
use crate::shard::backlog::Backlog;

/// A packet that waits to be written: its place in the backlog, its m-line, its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    packet: u32,
    slot: usize,
    planned: Planned,
}

/// Sessions ahead whose memory is asked for: by the time one is sealed for, a few microseconds passed.
const FAR: usize = 6;
const NEAR: usize = 4;
const NEXT: usize = 2;
const LAST: usize = 1;
/// Cache lines of a session that sending touches, at most.
const PEER_LINES: usize = 5;

/// Where a session's packets go.
type PathTo = (SocketAddr, Option<IpAddr>);

/// What was sealed in a turn.
#[derive(Debug, Default, Clone, Copy)]
pub struct Share {
    sessions: usize,
    packets: usize,
}

impl Share {
    /// The turn has done its part.
    pub fn is_done(&self) -> bool {
        self.sessions >= SESSIONS_PER_TURN || self.packets >= PACKETS_PER_TURN
    }

    /// No batch has become full: the socket is, or nobody needs the packets.
    fn is_overdone(&self) -> bool {
        self.sessions >= 2 * SESSIONS_PER_TURN || self.packets >= 2 * PACKETS_PER_TURN
    }
}

/// Seals for one session after the other until a batch is full: then true. Or until all have what they get, or for longer
/// than a batch takes.
pub fn seal(shard: &mut Shard, now: Instant, share: &mut Share) -> bool {
    while !share.is_overdone() {
        let Some(index) = shard.work.take(&mut shard.portions) else {
            return false;
        };
        prefetch_next(shard);
        seal_for(shard, index, now);
        share.sessions += 1;
        share.packets += shard.waiting_packets.len();
        if shard.departures_v4.is_ripe() || shard.departures_v6.is_ripe() {
            return true;
        }
    }
    false
}

/// Seals what waits for session `index`, out of its turn.
pub fn seal_now(shard: &mut Shard, index: usize, now: Instant) {
    shard.work.take_of(index, &mut shard.portions);
    seal_for(shard, index, now);
}

/// Seals its portions for session `index`.
fn seal_for(shard: &mut Shard, index: usize, now: Instant) {
    let is_blocked = shard.departures_v4.is_blocked() || shard.departures_v6.is_blocked();
    let max_padding = if shard.is_busy && !is_blocked {
        BUSY_PADDING_BYTES
    } else {
        IDLE_PADDING_BYTES
    };
    shard.guard(index, |shard| {
        if let Some(path) = plan(shard, index, now) {
            write(shard, index, path, (max_padding, now));
        }
    });
}

/// Asks for what the next sessions' packets will touch, each pointer when the one before it has come.
fn prefetch_next(shard: &mut Shard) {
    let Shard { work, peers, .. } = shard;
    if let Some(peer) = work.ahead(FAR).and_then(|index| peers.get(index)) {
        prefetch(peer, PEER_LINES);
    }
    if let Some(peer) = work.ahead(NEAR).and_then(|index| peers.get(index)) {
        peer.prefetch();
    }
    if let Some(peer) = work.ahead(NEXT).and_then(|index| peers.get_mut(index))
        && let Some(subscriber) = peer.subscriber()
    {
        subscriber.prefetch();
    }
    if let Some(peer) = work.ahead(LAST).and_then(|index| peers.get_mut(index))
        && let Some(subscriber) = peer.subscriber()
    {
        subscriber.prefetch_codecs();
    }
}

/// Decides what session `index` gets of its portions, and gives it its numbers. Where that goes.
fn plan(shard: &mut Shard, index: usize, now: Instant) -> Option<PathTo> {
    let Shard {
        peers,
        portions,
        backlog,
        waiting_packets,
        report,
        ..
    } = shard;
    waiting_packets.clear();
    let peer = peers.get_mut(index)?;
    let Some(path) = peer.paths.media() else {
        // Connected sessions have one; its subscriptions do not flow yet.
        let batches = portions.iter().map(|portion| backlog.batch(portion.batch));
        let packets = batches.map(|batch| batch.packets.len()).sum();
        report.drops.count_many(DropReason::NotConnected, packets);
        return None;
    };
    let departures = match path.0 {
        SocketAddr::V4(_) => &shard.departures_v4,
        SocketAddr::V6(_) => &shard.departures_v6,
    };
    let subscriber = peer.subscriber()?;
    for portion in portions.iter() {
        let (sub, batch) = (portion.sub as usize, backlog.batch(portion.batch));
        for &place in &batch.packets {
            let packet = backlog.packet(place);
            match subscriber.plan(sub, packet, departures.sheds(packet.layer)) {
                Ok(Some((slot, planned, verdict))) => {
                    if verdict == Verdict::Switch {
                        shard.switched.push((index, sub));
                    }
                    if verdict == Verdict::Switch || packet.keyframe {
                        measure(subscriber, report, (sub, packet), now);
                    }
                    waiting_packets.push(Waiting {
                        packet: place,
                        slot,
                        planned,
                    });
                }
                Ok(None) => {}
                Err(reason) => {
                    report.drops.count(reason);
                    if reason == DropReason::NoCodec {
                        let track = subscriber.take_undecodable(sub, packet);
                        let found = track.map(|track| (index, sub, track, packet.codec));
                        shard.undecodable.extend(found);
                    }
                }
            }
        }
    }
    (!waiting_packets.is_empty()).then_some(path)
}

/// Counts how long subscription `sub` waited for `packet`.
pub(super) fn measure(
    subscriber: &mut Subscriber,
    report: &mut ShardReport,
    (sub, packet): (usize, &MediaPacket),
    now: Instant,
) {
    if let Some(subscription) = subscriber.subscriptions.get_mut(sub) {
        let samples = subscription.waited(packet, now).into_iter().flatten();
        samples.for_each(|sample| report.quality.record(sample));
    }
}

/// Writes what session `index` gets, run by run.
fn write(shard: &mut Shard, index: usize, path: PathTo, (max_padding, now): (usize, Instant)) {
    let waiting = &shard.waiting_packets[..];
    let Some(peer) = shard.peers.get_mut(index) else {
        return;
    };
    let departures = match path.0 {
        SocketAddr::V4(_) => &mut shard.departures_v4,
        SocketAddr::V6(_) => &mut shard.departures_v6,
    };
    let Some(subscriber) = peer.subscriber() else {
        return;
    };
    let mut rest = waiting;
    while !rest.is_empty() {
        let cut = cut(
            rest.iter().map(|waiting| waiting.planned.bytes),
            max_padding,
        );
        let (run, after) = rest.split_at(cut.packets);
        rest = after;
        let last = run[run.len() - 1].planned.bytes;
        let bytes = cut.segment_bytes * (run.len() - 1) + last;
        let Some(room) = departures.room(bytes) else {
            let report = &mut shard.report;
            report
                .drops
                .count_many(DropReason::SendBufferFull, run.len());
            continue;
        };
        write_run(
            subscriber,
            room,
            (run, cut.segment_bytes),
            &shard.backlog,
            now,
        );
        let plain: usize = run.iter().map(|waiting| waiting.planned.bytes).sum();
        shard.report.padding_bytes += (bytes - plain) as u64;
        let arrived = Some(shard.backlog.packet(run[0].packet).arrived);
        departures.commit(
            described(bytes, cut.segment_bytes, path, arrived),
            &mut shard.report,
        );
    }
    let deadline = peer.deadline();
    shard.timers.set(index, deadline);
}

fn write_run(
    subscriber: &mut Subscriber,
    room: &mut [u8],
    (run, segment_bytes): (&[Waiting], usize),
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
    for (waiting, room) in run.iter().zip(room.chunks_mut(segment_bytes)) {
        let packet = backlog.packet(waiting.packet);
        let stream = &mut slots[waiting.slot].stream;
        stream.write(room, waiting.planned, packet, &mut keys);
    }
}

/// What a session sends by itself when its time has come: sender reports, and padding that finds out
/// what its path takes.
pub fn periodic(shard: &mut Shard, index: usize, now: Instant) {
    let Some(peer) = shard.peers.get_mut(index) else {
        return;
    };
    let Some(path) = peer.paths.media() else {
        return;
    };
    let departures = match path.0 {
        SocketAddr::V4(_) => &mut shard.departures_v4,
        SocketAddr::V6(_) => &mut shard.departures_v6,
    };
    if let Some(subscriber) = peer.subscriber() {
        report(subscriber, departures, (path, now), &mut shard.report);
        pad(subscriber, departures, (path, now), &mut shard.report);
    }
    let deadline = peer.deadline();
    shard.timers.set(index, deadline);
}

fn report(
    subscriber: &mut Subscriber,
    departures: &mut Departures,
    (path, now): (PathTo, Instant),
    report: &mut ShardReport,
) {
    let Subscriber { slots, send, .. } = subscriber;
    let hurries = slots.iter().any(|slot| slot.stream.wants_quick_reports());
    let Some(due) = send.take_reports_due(hurries, now) else {
        return;
    };
    let Some((sealer, _)) = send.keys() else {
        return;
    };
    let reporting = |slot: &&mut Slot| due == Due::All || slot.stream.wants_quick_reports();
    for slot in slots.iter_mut().filter(reporting) {
        let mut packet = [0; crate::send::report::MAX_BYTES];
        let Some(length) = crate::send::report::write(&mut slot.stream, now, &mut packet) else {
            continue;
        };
        let length = sealer.seal_rtcp(&mut packet, length);
        departures.push(
            &packet[..length],
            described(length, length, path, None),
            report,
        );
    }
}

fn pad(
    subscriber: &mut Subscriber,
    departures: &mut Departures,
    (path, now): (PathTo, Instant),
    report: &mut ShardReport,
) {
    let Subscriber { slots, send, .. } = subscriber;
    let Some((sealer, Some(estimator))) = send.keys() else {
        return;
    };
    let mut due = estimator.padding_due(now);
    if due == 0 {
        return;
    }
    let carrier = slots
        .iter_mut()
        .find_map(|slot| Some((slot.stream.padding_bytes(sealer)?, &mut slot.stream)));
    let Some((bytes, stream)) = carrier else {
        return;
    };
    let mut keys = Keys {
        sealer,
        estimator: Some(estimator),
        now,
    };
    while due > 0 {
        let Some(room) = departures.room(bytes) else {
            return; // a full socket is no place for padding
        };
        stream.write_padding(room, &mut keys);
        report.padding_bytes += bytes as u64;
        departures.commit(described(bytes, bytes, path, None), report);
        due = due.saturating_sub(bytes);
    }
}

pub(super) fn described(
    bytes: usize,
    segment_bytes: usize,
    (destination, source): PathTo,
    arrived: Option<Instant>,
) -> Run {
    Run {
        bytes,
        segment_bytes,
        destination,
        source,
        arrived,
    }
}

/// Where `peer` is, for its datagrams that the session layer made.
pub fn described_for(peer: &Peer, destination: SocketAddr, contents: &[u8]) -> Run {
    let source = match protocol(contents) {
        Some(Protocol::Stun) => peer.paths.local_for_response(destination),
        Some(_) | None => peer.paths.local_for(destination),
    };
    let bytes = contents.len();
    described(bytes, bytes, (destination, source), None)
}
