//! Hop 6 beside [`super::seal`]: packets that were sealed before, sealed for one session by itself. What a subscriber lost is
//! sent again, and a new subscriber starts with the newest keyframe that is kept.

use std::net::SocketAddr;
use std::time::Instant;

use super::seal::{described, measure};
use crate::drop_reason::DropReason;
use crate::key::{LayerIndex, TrackKey};
use crate::limits::YOUNG_KEYFRAME;
use crate::media::packet::MediaPacket;
use crate::peer::Subscriber;
use crate::send::stream::Keys;
use crate::shard::Shard;

/// Answers what session `index` asked for again.
pub fn resend(shard: &mut Shard, index: usize, now: Instant) {
    let mut lost = std::mem::take(&mut shard.out.lost);
    for (slot, seq) in lost.drain(..) {
        let done = resend_one(shard, index, (slot, seq), now);
        match done {
            Ok(()) => shard.report.resent += 1,
            Err(reason) => shard.report.drops.count(reason),
        }
    }
    shard.out.lost = lost; // keeps its allocation
}

fn resend_one(
    shard: &mut Shard,
    index: usize,
    (slot, seq): (usize, u16),
    now: Instant,
) -> Result<(), DropReason> {
    let Shard {
        peers,
        tracks,
        report,
        departures_v4,
        departures_v6,
        ..
    } = shard;
    let peer = peers.get_mut(index).ok_or(DropReason::NotResent)?;
    let path = peer.paths.media().ok_or(DropReason::NotConnected)?;
    let subscriber = peer.subscriber().ok_or(DropReason::NotResent)?;
    let Subscriber {
        slots,
        send,
        subscriptions,
        ..
    } = subscriber;
    let subscription = slots[slot].playing().map(|sub| &subscriptions[sub]);
    let subscription = subscription.ok_or(DropReason::NotResent)?;
    let about = (now, send.rtt());
    let (sealer, estimator) = send.keys().ok_or(DropReason::NotConnected)?;
    let stream = &mut slots[slot].stream;
    let departures = match path.0 {
        SocketAddr::V4(_) => departures_v4,
        SocketAddr::V6(_) => departures_v6,
    };
    if let Some(datagram) = stream.again_as_sent(seq, about) {
        let bytes = datagram.len();
        let room = departures.room(bytes).ok_or(DropReason::SendBufferFull)?;
        room.copy_from_slice(datagram);
        departures.commit(described(bytes, bytes, path, None), report);
        return Ok(());
    }
    let with = (&*sealer, estimator.is_some());
    let (planned, packet) = stream.plan_again(seq, about, with, |sent| {
        if sent.track != subscription.track {
            return None; // of what played on the m-line before
        }
        let entry = tracks.get_mut(sent.track)?;
        let packet = entry.history.get(sent.layer, (sent.epoch, sent.seq))?;
        Some((packet, subscription.encoding(packet)?))
    })?;
    let room = departures.room(planned.bytes);
    let room = room.ok_or(DropReason::SendBufferFull)?;
    let mut keys = Keys {
        sealer,
        estimator,
        now,
    };
    stream.write(room, planned, packet, &mut keys);
    departures.commit(described(planned.bytes, planned.bytes, path, None), report);
    Ok(())
}

/// Lets subscription `sub` of session `index` start with the newest keyframe of the layer that is kept, and what came
/// after it. False where there is no young one.
pub fn start_from_history(
    shard: &mut Shard,
    (index, sub): (usize, usize),
    (track, layer): (TrackKey, LayerIndex),
    now: Instant,
) -> bool {
    let Some(entry) = shard.tracks.get_mut(track) else {
        return false;
    };
    let since = entry.history.since_keyframe(layer, (now, YOUNG_KEYFRAME));
    let packets: Vec<MediaPacket> = since.cloned().collect();
    let mut starts = false;
    shard.guard(index, |shard| {
        for packet in &packets {
            match send_alone(shard, (index, sub), packet, now) {
                Ok(sent) => starts |= sent,
                Err(reason) => shard.report.drops.count(reason),
            }
        }
    });
    if starts {
        shard.switched.push((index, sub));
    }
    starts
}

/// Sends `packet` to subscription `sub` of session `index` as a datagram of its own. True when it was sent.
fn send_alone(
    shard: &mut Shard,
    (index, sub): (usize, usize),
    packet: &MediaPacket,
    now: Instant,
) -> Result<bool, DropReason> {
    let peer = shard.peers.get_mut(index).ok_or(DropReason::NotConnected)?;
    let path = peer.paths.media().ok_or(DropReason::NotConnected)?;
    let subscriber = peer.subscriber().ok_or(DropReason::NotConnected)?;
    let Some((slot, planned, _)) = subscriber.plan(sub, packet, false)? else {
        return Ok(false);
    };
    measure(subscriber, &mut shard.report, (sub, packet), now);
    let departures = match path.0 {
        SocketAddr::V4(_) => &mut shard.departures_v4,
        SocketAddr::V6(_) => &mut shard.departures_v6,
    };
    let room = departures.room(planned.bytes);
    let room = room.ok_or(DropReason::SendBufferFull)?;
    let Subscriber { slots, send, .. } = subscriber;
    let (sealer, estimator) = send.keys().ok_or(DropReason::NotConnected)?;
    let mut keys = Keys {
        sealer,
        estimator,
        now,
    };
    slots[slot].stream.write(room, planned, packet, &mut keys);
    let run = described(planned.bytes, planned.bytes, path, None);
    departures.commit(run, &mut shard.report);
    Ok(true)
}
