//! Properties of keyframe requests, for requests and keyframes at any times.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::key::{LinkId, SessionIndex, ShardId};
use crate::properties::config;

/// Time between two calls of [`Keyframes::due`], in milliseconds.
const TICK_MS: u64 = 100;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn requests_are_throttled_repeated_and_ended_by_their_answer(source in source(), steps in vec(step(), 1..120)) {
        let (start, mut now_ms) = (Instant::now(), 0);
        let mut keyframes = Keyframes::default();
        let mut wanted = [None::<u64>; MAX_LAYERS]; // time of the first request that has no answer
        let mut sent = [const { Vec::<u64>::new() }; MAX_LAYERS];
        let all: LayerSet = (0..MAX_LAYERS as u8).map(LayerIndex).collect();
        let min_pause_ms = match source {
            Source::Session(_) | Source::Link(_) => KEYFRAME_INTERVAL.as_millis() as u64,
            Source::Shard(_) => 0, // the home throttles
        };
        for step in steps {
            let now = start + Duration::from_millis(now_ms);
            match step {
                Step::Request(layer) => {
                    let was_wanted = wanted[layer].replace(wanted[layer].unwrap_or(now_ms)).is_some();
                    if keyframes.request(source, LayerIndex(layer as u8), now) {
                        sent[layer].push(now_ms);
                    } else {
                        let is_recent = |last: &u64| now_ms - last < min_pause_ms;
                        let is_known = was_wanted || sent[layer].last().is_some_and(is_recent);
                        prop_assert!(is_known, "the first request is sent at once");
                    }
                }
                Step::Keyframe(layer) => {
                    keyframes.entered(LayerIndex(layer as u8));
                    keyframes.arrived(LayerIndex(layer as u8));
                    wanted[layer] = None;
                }
                Step::Wait(ticks) => for _ in 0..ticks {
                    now_ms += TICK_MS;
                    let now = start + Duration::from_millis(now_ms);
                    for layer in keyframes.due(Some(source), all, now) {
                        prop_assert!(wanted[layer.index()].is_some(), "an answered request is not repeated");
                        sent[layer.index()].push(now_ms);
                    }
                    for (layer, wanted) in wanted.iter().enumerate() {
                        let Some(since) = *wanted else { continue };
                        let last = sent[layer].last().copied().unwrap_or(0);
                        let waits_ms = now_ms - last.max(since);
                        prop_assert!(waits_ms <= KEYFRAME_RETRY.as_millis() as u64 + TICK_MS, "{} ms", waits_ms);
                    }
                },
            }
            prop_assert_eq!(keyframes.is_waiting(), wanted.iter().any(Option::is_some));
            for times in &sent {
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= min_pause_ms), "{:?}", times);
            }
        }
        (0..MAX_LAYERS as u8).map(LayerIndex).for_each(|layer| {
            keyframes.entered(layer);
            keyframes.arrived(layer);
        });
        let late = start + Duration::from_millis(now_ms) + 2 * KEYFRAME_RETRY;
        prop_assert!(!keyframes.is_waiting() && keyframes.due(Some(source), all, late).is_empty());
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A subscriber needs a keyframe of the layer.
    Request(usize),
    /// A keyframe of the layer comes.
    Keyframe(usize),
    /// So many ticks pass.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..MAX_LAYERS).prop_map(Step::Request),
        1 => (0..MAX_LAYERS).prop_map(Step::Keyframe),
        2 => (0..15_u64).prop_map(Step::Wait),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    prop::sample::select(vec![
        Source::Session(SessionIndex(1)),
        Source::Link(LinkId(1)),
        Source::Shard(ShardId(1)),
    ])
}
