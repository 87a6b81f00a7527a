//! Hop 4: who gets a packet. Comes from [`super::decrypt`] or from another shard; goes through
//! [`super::rewrite`] to [`super::seal`].
//!
//! A packet crosses to another shard once, however many subscribers live there, and only if one of them
//! needs its layer. Here, packets are grouped by track, and each subscriber of the track is told once
//! of all of them: what it gets is decided where it is sealed, with its state in the cache.

use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::key::TrackKey;
use crate::shard::Shard;
use crate::shard::work::Portion;
use crate::table::Published;
use crate::track::MediaPacket;

/// The packets of one track in this turn, as places in the turn's packets.
#[derive(Debug, Default)]
pub struct Batch {
    /// Which track.
    pub track: TrackKey,
    /// Its packets, in order.
    pub packets: Vec<u32>,
}

/// At the home of tracks: measures what the sessions of this shard received, and copies it to other
/// shards.
pub fn publish_inbox(shard: &mut Shard, now: Instant) {
    let mut inbox = std::mem::take(&mut shard.inbox);
    for packet in inbox.drain(..) {
        measure_and_copy(shard, &packet, now);
        shard.fresh.push(packet);
    }
    shard.inbox = inbox; // keeps its allocation
}

/// Tells the subscribers of this shard of all packets that are fresh.
pub fn spread(shard: &mut Shard) {
    for (place, packet) in (0..).zip(&shard.fresh) {
        let Some(entry) = shard.tracks.get_mut(packet.track) else {
            continue;
        };
        if entry.subscribers.is_empty() {
            continue;
        }
        if entry.is_video() {
            entry.history.keep(packet);
        }
        if packet.keyframe && !shard.asked.is_empty() {
            let answered = (packet.track, packet.layer);
            shard
                .asked
                .retain(|(track, layer, _)| (*track, *layer) != answered);
        }
        let batch = match entry.batch {
            Some(batch) => batch,
            None => {
                let batch = shard.batches_used;
                if shard.batches.len() == batch {
                    shard.batches.push(Batch::default());
                }
                shard.batches_used += 1;
                shard.batches[batch].track = packet.track;
                shard.batches[batch].packets.clear();
                entry.batch = Some(batch);
                batch
            }
        };
        shard.batches[batch].packets.push(place);
    }
    for (place, batch) in (0..).zip(&shard.batches[..shard.batches_used]) {
        let Some(entry) = shard.tracks.get_mut(batch.track) else {
            continue;
        };
        entry.batch = None;
        for &(peer, sub) in &entry.subscribers {
            let portion = Portion {
                track: place,
                sub: sub as u32,
            };
            shard.work.add(peer, portion);
        }
    }
}

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
