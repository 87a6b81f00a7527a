//! Keyframe requests of one track: coalesced, throttled, repeated until answered.
//!
//! Thousands of subscribers may ask in the same moment; the publisher hears it once. A keyframe costs
//! every subscriber of the layer, so requests within [`KEYFRAME_INTERVAL`] of the last one wait.

use std::time::Instant;

use crate::key::LayerIndex;
use crate::limits::{KEYFRAME_INTERVAL, KEYFRAME_RETRY, MAX_LAYERS};

/// What is asked of the publisher of one track.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    by_layer: [Layer; MAX_LAYERS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    last_sent: Option<Instant>,
    wanted: bool,
    /// A keyframe came after the last request: who asks now came later than it.
    answered: bool,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe of `layer`. True: ask the publisher now.
    pub fn request(&mut self, layer: LayerIndex, now: Instant) -> bool {
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

    /// A keyframe of `layer` arrived: whoever asked is served.
    pub fn answered(&mut self, layer: LayerIndex) {
        let state = &mut self.by_layer[layer.index()];
        state.wanted = false;
        state.answered = true;
    }

    /// Layers for which the publisher has to be asked (again) now.
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = LayerIndex> + use<> {
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

    /// True while somebody waits for a keyframe.
    pub fn is_waiting(&self) -> bool {
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
    fn who_comes_right_after_a_keyframe_waits_the_interval_only() {
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
