//! Keyframe requests of one track: merged, throttled, repeated until answered, and passed on.
//!
//! Thousands of subscribers may request a keyframe at once; the publisher gets one request. A keyframe costs bandwidth
//! for every subscriber of the layer, so requests within [`KEYFRAME_INTERVAL`] of the last one wait.

use std::time::Instant;

use super::source::Source;
use crate::key::{LayerIndex, LayerSet};
use crate::limits::{KEYFRAME_INTERVAL, KEYFRAME_RETRY, MAX_LAYERS};

/// Pending keyframe requests of one track on one shard.
#[derive(Debug, Default)]
pub struct Keyframes {
    /// Requests to the publisher or link, if the track enters the node on this shard.
    at_origin: KeyframeRequests,
    /// Time of the last request to the home of the track, per layer. Requests without an answer may be lost and are
    /// repeated.
    asked: [Option<Instant>; MAX_LAYERS],
}

impl Keyframes {
    /// Requests a keyframe of `layer`. True: send a request to `source` now.
    pub fn request(&mut self, source: Source, layer: LayerIndex, now: Instant) -> bool {
        match source {
            Source::Session(_) | Source::Link(_) => self.at_origin.request(layer, now),
            // A pending request is repeated anyway; another one would only cost messages.
            Source::Shard(_) => {
                let asked = &mut self.asked[layer.index()];
                let is_first = asked.is_none();
                asked.get_or_insert(now);
                is_first
            }
        }
    }

    /// A keyframe of `layer` entered the node on this shard, from the publisher or a link.
    pub fn entered(&mut self, layer: LayerIndex) {
        self.at_origin.answered(layer);
    }

    /// A keyframe of `layer` arrived at this shard, from its own session or from the home of the track.
    pub fn arrived(&mut self, layer: LayerIndex) {
        self.asked[layer.index()] = None;
    }

    /// Layers for which the request to `source` must be repeated, among those that subscribers of this shard need
    /// (`needed`).
    pub fn due(
        &mut self,
        source: Option<Source>,
        needed: LayerSet,
        now: Instant,
    ) -> Vec<LayerIndex> {
        let mut due = Vec::new();
        for index in 0..MAX_LAYERS {
            let layer = LayerIndex(index as u8);
            let is_over = |at: &mut Instant| now.duration_since(*at) >= KEYFRAME_RETRY;
            if self.asked[index].take_if(is_over).is_none() || !needed.contains(layer) {
                continue;
            }
            let asks = source.is_some_and(|source| self.request(source, layer, now));
            due.extend(asks.then_some(layer));
        }
        if let Some(Source::Session(_) | Source::Link(_)) = source {
            due.extend(self.at_origin.due(now));
        }
        due
    }

    /// True while a request has no answer.
    pub fn is_waiting(&self) -> bool {
        self.at_origin.is_waiting() || self.asked.iter().any(Option::is_some)
    }

    /// The track no longer enters the node on this shard.
    pub fn left(&mut self) {
        self.at_origin = KeyframeRequests::default();
    }
}

/// Keyframe requests to the publisher of one track, by layer.
#[derive(Debug, Default)]
struct KeyframeRequests {
    by_layer: [Layer; MAX_LAYERS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    last_sent: Option<Instant>,
    wanted: bool,
    /// True if a keyframe arrived after the last request, so a new request is for a later keyframe.
    answered: bool,
}

impl KeyframeRequests {
    /// Requests a keyframe of `layer`. True: send a request to the publisher now.
    fn request(&mut self, layer: LayerIndex, now: Instant) -> bool {
        let state = &mut self.by_layer[layer.index()];
        state.wanted = true;
        let waited = state
            .last_sent
            .is_none_or(|at| now.duration_since(at) >= KEYFRAME_INTERVAL);
        if waited {
            state.sent(now);
        }
        waited
    }

    /// A keyframe of `layer` arrived; it answers all pending requests for the layer.
    fn answered(&mut self, layer: LayerIndex) {
        let state = &mut self.by_layer[layer.index()];
        state.wanted = false;
        state.answered = true;
    }

    /// Layers for which a request must be sent to the publisher now, first or again.
    fn due(&mut self, now: Instant) -> impl Iterator<Item = LayerIndex> + use<> {
        let mut due = [false; MAX_LAYERS];
        for (due, state) in due.iter_mut().zip(&mut self.by_layer) {
            let patience = if state.answered {
                KEYFRAME_INTERVAL
            } else {
                KEYFRAME_RETRY
            };
            let waited = state
                .last_sent
                .is_none_or(|at| now.duration_since(at) >= patience);
            if state.wanted && waited {
                state.sent(now);
                *due = true;
            }
        }
        (0..)
            .zip(due)
            .filter(|(_, due)| *due)
            .map(|(layer, _)| LayerIndex(layer))
    }

    /// True while a request has no answer.
    fn is_waiting(&self) -> bool {
        self.by_layer.iter().any(|layer| layer.wanted)
    }
}

impl Layer {
    fn sent(&mut self, now: Instant) {
        self.last_sent = Some(now);
        self.answered = false;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_crowd_asks_once_and_again_only_when_unanswered() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let low = LayerIndex(0);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(low, at(0)));
        for ms in 1..500 {
            assert!(!requests.request(low, at(ms)), "at {ms} ms");
        }
        assert!(
            requests.request(LayerIndex(1), at(3)),
            "layers are independent"
        );
        assert_eq!(requests.due(at(999)).count(), 0);
        assert_eq!(requests.due(at(1_000)).collect::<Vec<_>>(), [low]);
        requests.answered(low);
        requests.answered(LayerIndex(1));
        assert!(!requests.is_waiting());
        assert_eq!(requests.due(at(9_000)).count(), 0);
        assert!(requests.request(low, at(9_000)));
    }

    #[test]
    fn a_request_right_after_a_keyframe_waits_only_the_interval() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(LayerIndex(0), at(0)));
        requests.answered(LayerIndex(0));
        assert!(!requests.request(LayerIndex(0), at(60)));
        assert_eq!(requests.due(at(499)).count(), 0);
        assert_eq!(requests.due(at(500)).count(), 1);
    }
}
