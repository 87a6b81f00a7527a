//! Properties of the delay-based estimate, for any measurements at any times.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn the_estimate_is_a_number_in_its_range(initial_bps in any::<u64>(), steps in vec(step(), 1..100)) {
        let mut rate = Rate::new(initial_bps);
        for step in steps {
            let before = rate.bps;
            match step {
                Step::Increase { acked_bps, rtt_us, now_us } => {
                    rate.increase(acked_bps, rtt_us, now_us);
                    let limit = (acked_bps as f64 * UNPROVEN + UNPROVEN_BPS).max(before);
                    prop_assert!((before..=limit).contains(&rate.bps));
                }
                Step::Decrease { acked_bps, rtt_us, now_us } => {
                    let is_new = rate.decrease(acked_bps, rtt_us, now_us);
                    prop_assert!(rate.bps <= before && (is_new || rate.bps == before));
                    prop_assert!(!is_new || rate.bps <= bound(acked_bps as f64 * DECREASE));
                }
                Step::Prove(bps) => {
                    rate.prove(bps);
                    prop_assert_eq!(rate.bps, before.max(bound(bps as f64)));
                }
                Step::Fall(percent) => {
                    rate.fall(f64::from(percent) / 100.0);
                    prop_assert!(rate.bps <= before);
                }
            }
            prop_assert!(rate.bps.is_finite() && (MIN_BPS as f64..=MAX_BPS).contains(&rate.bps));
            prop_assert!((MIN_BPS..=MAX_BPS as u64).contains(&rate.bps()));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Increase {
        acked_bps: u64,
        rtt_us: i64,
        now_us: i64,
    },
    Decrease {
        acked_bps: u64,
        rtt_us: i64,
        now_us: i64,
    },
    Prove(u64),
    /// A silence, and the percentage that stays.
    Fall(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let bps = || prop_oneof![4 => 0..20_000_000_u64, 1 => any::<u64>()];
    let rtt_us = || prop_oneof![0..2_000_000_i64, 0..5_000_000_000_i64];
    let now_us = || prop_oneof![0..20_000_000_i64, 0..i64::MAX / 4];
    prop_oneof![
        4 => (bps(), rtt_us(), now_us())
            .prop_map(|(acked_bps, rtt_us, now_us)| Step::Increase { acked_bps, rtt_us, now_us }),
        3 => (bps(), rtt_us(), now_us())
            .prop_map(|(acked_bps, rtt_us, now_us)| Step::Decrease { acked_bps, rtt_us, now_us }),
        1 => bps().prop_map(Step::Prove),
        1 => (0..=100_u8).prop_map(Step::Fall),
    ]
}
