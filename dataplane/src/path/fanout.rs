//! Hop 4: finds the subscribers of a packet. Previous: [`super::decrypt`] or another shard, next: [`super::number`].
//!
//! A packet is copied once to each other shard that needs its layer, however many subscribers that shard has. On this
//! shard, packets are grouped by track, and each subscriber of the track is scheduled once for the whole group. Hop 5
//! decides which packets the subscriber gets, when its state is in the cache.

use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::limits::FEW_SUBSCRIBERS;
use crate::media::packet::MediaPacket;
use crate::shard::forwarding::Forwarding;
use crate::shard::schedule::{PendingPackets, QueueKind};
use crate::shard::state::Shard;
use crate::shard::track_table::Published;
use crate::tree::link::LinkMessage;
use crate::tree::source::Target;

/// On the home of tracks: measures received packets, copies them to other shards and links, and queues them if the
/// track has subscribers on this shard.
pub fn publish_inbox(shard: &mut Shard, now: Instant) {
    let mut inbox = std::mem::take(&mut shard.forwarding.inbox);
    let (mut began_anew, mut changed) = (Vec::new(), Vec::new());
    for packet in inbox.drain(..) {
        let (changes_codec, needs_keyframe) = detect_changes(shard, &packet);
        if changes_codec {
            changed.push((packet.track, packet.codec));
        }
        if needs_keyframe {
            began_anew.push((packet.track, packet.layer));
        }
        if measure_and_copy(shard, &packet, now) {
            shard.forward_later(packet, now);
        }
    }
    shard.forwarding.inbox = inbox; // keeps its allocation
    for (track, codec) in changed {
        shard.report_codec(track, codec);
    }
    for (track, layer) in began_anew {
        shard.request_keyframe(track, layer, now);
    }
}

/// Two flags: `packet` has another codec than the packets before it; subscribers need a keyframe, because the sequence
/// numbers restarted with a packet that is no keyframe.
fn detect_changes(shard: &mut Shard, packet: &MediaPacket) -> (bool, bool) {
    let Some(entry) = shard.tracks.get_mut(packet.track) else {
        return (false, false);
    };
    let Some(published) = entry.published.as_mut() else {
        return (false, false);
    };
    let changes_codec = published.changes_codec(packet);
    let restarts_numbers = published.restarts_numbers(packet);
    let needs_keyframe =
        restarts_numbers && entry.is_video() && entry.route.is_needed(packet.layer);
    (changes_codec, needs_keyframe)
}

/// Schedules the subscribers of this shard for all packets that are not scheduled yet.
pub fn spread(shard: &mut Shard) {
    gather(shard);
    let Shard {
        forwarding, tracks, ..
    } = shard;
    let Forwarding {
        backlog, schedule, ..
    } = forwarding;
    for place in backlog.new_batches() {
        let Some(entry) = tracks.get_mut(backlog.batch(place).track) else {
            continue;
        };
        entry.batch = None;
        let line = if entry.subscribers.len() <= FEW_SUBSCRIBERS {
            QueueKind::FewSubscribers
        } else {
            QueueKind::ManySubscribers
        };
        for at in &entry.subscribers {
            let packets = PendingPackets {
                batch: place,
                sub: at.subscription,
            };
            schedule.add(at.session, packets, line);
        }
    }
    backlog.close_round(schedule);
}

/// Adds each packet that is not scheduled yet to the batch of its track.
fn gather(shard: &mut Shard) {
    let Shard {
        forwarding, tracks, ..
    } = shard;
    let backlog = &mut forwarding.backlog;
    for place in backlog.unscheduled() {
        let packet = backlog.packet(place);
        let track = packet.track;
        let Some(entry) = tracks.get_mut(track) else {
            continue;
        };
        if entry.subscribers.is_empty() {
            continue;
        }
        if entry.is_video() {
            entry.history.keep(packet);
        }
        if packet.keyframe {
            entry.route.keyframes().arrived(packet.layer);
        }
        let batch = *entry.batch.get_or_insert_with(|| backlog.add_batch(track));
        backlog.add_to_batch(batch, place);
    }
}

/// Measures `packet` and copies it to other shards and links. True when the track has a subscriber on this shard.
fn measure_and_copy(shard: &mut Shard, packet: &MediaPacket, now: Instant) -> bool {
    let Some(entry) = shard.tracks.get_mut(packet.track) else {
        return false;
    };
    let is_wanted = !entry.subscribers.is_empty();
    let Some(published) = entry.published.as_mut() else {
        return is_wanted;
    };
    measure(published, packet, now);
    if !published.active {
        published.active = true;
        shard.periodic.active.push(packet.track);
    }
    if packet.keyframe {
        entry.route.keyframes().entered(packet.layer);
    }
    for (target, layers) in entry.route.targets() {
        if !layers.contains(packet.layer) {
            continue;
        }
        let (lost, count) = match target {
            Target::Shard(to) => {
                let is_sent = shard.outbox.mesh().send_media(*to, packet.copy_for_shard());
                let lost = (!is_sent).then_some(DropReason::MeshFull);
                (lost, &mut shard.report.mesh_packets)
            }
            Target::Link(to) => {
                let link = shard.links.get_mut(*to);
                let message = LinkMessage::Media(packet.clone());
                let is_sent = link.is_some_and(|link| link.queue.push(message).is_ok());
                let lost = (!is_sent).then_some(DropReason::LinkFull);
                (lost, &mut shard.report.link_packets)
            }
        };
        match lost {
            None => *count += 1,
            Some(reason) => shard.report.drops.count(reason),
        }
    }
    is_wanted
}

fn measure(published: &mut Published, packet: &MediaPacket, now: Instant) {
    published.meter.count(packet.layer, packet.payload.len());
    if let Some((dbov, voice)) = packet.audio_level {
        published.level.record(dbov, voice, now);
    }
}
