//! Keyframe requests on their way from subscribers to publishers: answered from what is kept, sent to the shard where the
//! track is published, repeated until a keyframe comes.

use std::collections::btree_map::Entry;
use std::time::Instant;

use super::state::Shard;
use crate::key::{LayerIndex, SessionIndex, SubscriberIndex, TrackKey};
use crate::limits::KEYFRAME_RETRY;
use crate::mesh::message::ToShard;
use crate::peer::session::Peer;

impl Shard {
    /// Gives a subscription the keyframe it waits for, if it waits for one: a young one that is kept, or the home of the
    /// track is asked. Not before the session can receive: it would be lost, and the next one later.
    pub(crate) fn want_keyframe(&mut self, at: SubscriberIndex, now: Instant) {
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
        if !(is_start && self.start_from_history(at, (track, layer), now)) {
            self.request_keyframe(track, layer, now);
        }
    }

    /// Asks the publisher of `track`, here or elsewhere.
    pub(crate) fn request_keyframe(&mut self, track: TrackKey, layer: LayerIndex, now: Instant) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let Some(published) = &mut entry.published else {
            if let Some(home) = entry.home.filter(|home| *home != self.id) {
                // It is repeated until it is answered: asking more often would only cost letters.
                if let Entry::Vacant(vacant) = self.keyframes.asked.entry((track, layer)) {
                    vacant.insert(now);
                    self.write_to(home, ToShard::Keyframe(track, layer));
                }
            }
            return;
        };
        let ask_now = published.keyframes.request(layer, now);
        let publisher = published.peer;
        if !std::mem::replace(&mut published.is_waiting, true) {
            self.keyframes.waiting.push(track);
        }
        if ask_now {
            self.ask_publisher(publisher, track, layer, now);
        }
    }

    pub(crate) fn ask_publisher(
        &mut self,
        publisher: SessionIndex,
        track: TrackKey,
        layer: LayerIndex,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(publisher) else {
            return;
        };
        peer.request_keyframe(track, layer, now, &mut self.out);
        self.absorb(publisher);
    }

    /// Asks publishers again that sent no keyframe.
    pub(crate) fn retry_keyframes(&mut self, now: Instant) {
        for track in std::mem::take(&mut self.keyframes.waiting) {
            let Some(published) = self
                .tracks
                .get_mut(track)
                .and_then(|e| e.published.as_mut())
            else {
                continue;
            };
            let due: Vec<_> = published.keyframes.due(now).collect();
            let publisher = published.peer;
            published.is_waiting = published.keyframes.is_waiting();
            if published.is_waiting {
                self.keyframes.waiting.push(track);
            }
            for layer in due {
                self.ask_publisher(publisher, track, layer, now);
            }
        }
    }

    /// Repeats requests to other shards that no keyframe answered; `request_keyframe` notes them again.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        let is_due = |at: &Instant| now.duration_since(*at) >= KEYFRAME_RETRY;
        let due = self.keyframes.asked.iter().filter(|(_, at)| is_due(at));
        let due: Vec<_> = due.map(|(wanted, _)| *wanted).collect();
        for (track, layer) in due {
            self.keyframes.asked.remove(&(track, layer));
            let needed = self
                .tracks
                .get_mut(track)
                .is_some_and(|entry| entry.needed().contains(layer));
            if needed {
                self.request_keyframe(track, layer, now);
            }
        }
    }
}
