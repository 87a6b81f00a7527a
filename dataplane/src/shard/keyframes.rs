//! Keyframe requests from subscribers to publishers: answered from the history, or passed on according to
//! [`tree`](crate::tree).

use std::time::Instant;

use spillway_mutants::{Mutant, is_planted};

use super::state::Shard;
use crate::key::{LayerIndex, SubscriberIndex, TrackKey};
use crate::mesh::message::ToShard;
use crate::peer::session::Peer;
use crate::tree::link::LinkMessage;
use crate::tree::source::Source;

impl Shard {
    /// Gets subscription `at` the keyframe it waits for, if any: a recent keyframe from the history, or one requested
    /// from the home of the track. Does nothing before the session can receive, because the keyframe would be lost and
    /// the next one would come later.
    pub(crate) fn get_keyframe(&mut self, at: SubscriberIndex, now: Instant) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        let (track, Some(layer)) = (subscription.track, subscription.waits_for()) else {
            return;
        };
        let is_start = subscription.current().is_none();
        if !self.peers.get(at.session).is_some_and(Peer::is_reachable) {
            return;
        }
        if !(is_start && self.start_from_history(at, track, layer, now)) {
            self.request_keyframe(track, layer, now);
        }
    }

    /// Requests a keyframe of `track` from the source of the track.
    pub(crate) fn request_keyframe(&mut self, track: TrackKey, layer: LayerIndex, now: Instant) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let source = entry.route.request_keyframe(layer, self.id, now);
        let waits = entry.route.keyframes().is_waiting();
        if waits && !std::mem::replace(&mut entry.awaits_keyframe, true) {
            self.awaiting_keyframes.push(track);
        }
        if let Some(source) = source {
            self.send_keyframe_request(source, track, layer, now);
        }
    }

    /// Repeats the keyframe requests that have not been answered in time.
    pub(crate) fn retry_keyframes(&mut self, now: Instant) {
        let mut waiting = std::mem::take(&mut self.awaiting_keyframes);
        waiting.sort_unstable(); // a track that was forgotten and came back is listed twice
        waiting.dedup();
        for track in waiting {
            let Some(entry) = self.tracks.get_mut(track) else {
                continue;
            };
            let due = entry.route.due_keyframes(self.id, now);
            entry.awaits_keyframe = entry.route.keyframes().is_waiting();
            if entry.awaits_keyframe {
                self.awaiting_keyframes.push(track);
            }
            if let Some((source, layers)) = due {
                for layer in layers {
                    self.send_keyframe_request(source, track, layer, now);
                }
            }
        }
    }

    fn send_keyframe_request(
        &mut self,
        source: Source,
        track: TrackKey,
        layer: LayerIndex,
        now: Instant,
    ) {
        match source {
            Source::Session(index) => {
                let Some(peer) = self.peers.get_mut(index) else {
                    return;
                };
                peer.request_keyframe(track, layer, now, &mut self.out);
                self.absorb(index);
            }
            Source::Shard(_) if is_planted(Mutant::KeyframeRequestLost) => {}
            Source::Shard(home) => self.send_to_shard(home, ToShard::Keyframe(track, layer)),
            Source::Link(link) => self.send_to_link(link, LinkMessage::Keyframe(track, layer)),
        }
    }
}
