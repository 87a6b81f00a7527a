//! Properties of the estimator, for honest and hostile feedback in any order.

mod player; // plays the steps of a sender and a receiver

use proptest::collection::vec;
use proptest::prelude::*;

use player::{Step, play, step};

use super::*;
use crate::properties::config;

/// Maximum of the estimate, in bits per second.
const MAX_BPS: u64 = 1_000_000_000;
proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn the_estimate_stays_in_its_range_and_depends_on_its_input_alone(
        initial_bps in 0..3_000_000_u64,
        steps in vec(step(), 1..80),
    ) {
        let start = Instant::now();
        let trace = play(initial_bps, &steps, start);
        let mut target_bps = 0; // a probe ends also after its target was taken back
        for moment in &trace {
            target_bps = target_bps.max(moment.desired_bps).max(moment.sustain_bps);
            if let Some(bps) = moment.estimate_bps {
                prop_assert!((MIN_BPS..=MAX_BPS).contains(&bps), "{} bps", bps);
            }
            prop_assert!(moment.deadline.is_none_or(|at| at > moment.now), "nothing is left to do");
            let most = target_bps * 115 / 100;
            prop_assert!(moment.padding_bytes as u64 * 8 <= most / 10 + 100_000, "{} bytes", moment.padding_bytes);
        }
        prop_assert_eq!(play(initial_bps, &steps, start), trace, "the same input has the same output");
    }

    #[test]
    fn a_receiver_that_tells_the_truth_is_believed_again(steps in vec(step(), 0..40)) {
        let mut steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Targets(..))).collect();
        steps.push(Step::Targets(0, 0));
        // Two minutes of 1 Mb/s on a wide path.
        let second = [Step::Send { count: 125, bytes: 1_000, gap_us: 8_000 }, Step::honest()];
        steps.extend((0..120).flat_map(|_| second.clone()));
        let trace = play(300_000, &steps, Instant::now());
        let last = trace.last().and_then(|moment| moment.estimate_bps).unwrap();
        prop_assert!(last >= 1_000_000, "{} bps", last);
    }
}
