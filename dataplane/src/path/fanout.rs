//! Hop 4: who gets a packet. Comes from [`super::decrypt`] or from another shard; goes through
//! [`super::rewrite`] to [`super::seal`].
//!
//! A packet crosses to another shard once, however many subscribers live there, and only if one of them
//! needs its layer.

use std::time::Instant;

use super::seal;
use crate::drop_reason::DropReason;
use crate::shard::Shard;
use crate::subscription::Verdict;
use crate::table::Published;
use crate::track::MediaPacket;

/// Spreads everything the sessions of this shard received.
pub fn spread_inbox(shard: &mut Shard, now: Instant) {
    let mut inbox = std::mem::take(&mut shard.inbox);
    for packet in inbox.drain(..) {
        measure_and_copy(shard, &packet, now);
        spread(shard, &packet);
    }
    shard.inbox = inbox; // keeps its allocation
}

/// Gives `packet` to its subscribers on this shard.
pub fn spread(shard: &mut Shard, packet: &MediaPacket) {
    let Some(entry) = shard.tracks.get_mut(packet.track) else {
        return;
    };
    for &(peer_index, sub) in &entry.subscribers {
        let Some(peer) = shard.peers.get_mut(peer_index) else {
            continue;
        };
        let Some((rtc, subscriber)) = peer.sending() else {
            continue;
        };
        let Some(subscription) = subscriber.subscriptions.get_mut(sub) else {
            continue;
        };
        // Before the verdict: a packet that cannot be sent must not be what a switch begins with.
        let Some(encoding) = subscription.encoding(packet) else {
            shard.report.drops.count(DropReason::NoCodec);
            continue;
        };
        let verdict = subscription.judge(packet);
        match verdict {
            Verdict::Skip => continue,
            Verdict::Switch => shard.switched.push((peer_index, sub)),
            Verdict::Forward => {}
        }
        match seal::write(rtc, subscriber, (sub, verdict, encoding), packet) {
            Ok(()) => shard.touched.mark(peer_index, packet.arrived),
            Err(reason) => shard.report.drops.count(reason),
        }
    }
    if !shard.switched.is_empty() {
        shard.after_switches(packet.track);
    }
}

/// At the home of a track: what its packets say of it, and copies for other shards.
fn measure_and_copy(shard: &mut Shard, packet: &MediaPacket, now: Instant) {
    let Some(published) = shard
        .tracks
        .get_mut(packet.track)
        .and_then(|entry| entry.published.as_mut())
    else {
        return;
    };
    measure(published, packet, now);
    if !published.active {
        published.active = true;
        shard.active.push(packet.track);
    }
    for (to, layers) in &published.copies {
        if !layers.contains(packet.layer) {
            continue;
        }
        if shard.post.mesh().send_media(*to, packet.copy_for_shard()) {
            shard.report.mesh_packets += 1;
        } else {
            shard.report.drops.count(DropReason::MeshFull);
        }
    }
}

fn measure(published: &mut Published, packet: &MediaPacket, now: Instant) {
    published.meter.count(packet.layer, packet.payload.len());
    if packet.keyframe {
        published.keyframes.answered(packet.layer);
    }
    if let Some((dbov, voice)) = packet.audio_level {
        published.level.heard(dbov, voice, now);
    }
}
