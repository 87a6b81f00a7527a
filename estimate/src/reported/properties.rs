//! Properties of the estimate from receiver reports, for any reports at any times.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn the_estimate_stays_in_its_range_and_below_a_fresh_remb(steps in vec(step(), 1..80)) {
        let (start, mut now) = (Instant::now(), Duration::ZERO);
        let (mut reported, mut again) = (Reported::new(), Reported::new());
        let mut remb = None;
        for step in steps {
            let at = start + now;
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Report(fraction, sent_bps) => {
                    let before = reported.bps;
                    let lost = f64::from(fraction) / 256.0;
                    let changed = reported.report(lost, sent_bps, at);
                    prop_assert_eq!(again.report(lost, sent_bps, at), changed);
                    prop_assert_eq!(changed, reported.bps != before);
                    prop_assert!((MIN_BPS..=MAX_BPS).contains(&reported.bps) || reported.bps == 0 && !changed);
                    prop_assert!(lost <= MUCH_LOSS || reported.bps <= before.max(MIN_BPS), "losses raise nothing");
                }
                Step::Remb(bps) => {
                    let before = reported.estimate_bps(at);
                    let changed = reported.remb(bps, at);
                    prop_assert_eq!(again.remb(bps, at), changed);
                    prop_assert_eq!(changed, reported.estimate_bps(at) != before);
                    remb = Some((bps, now));
                }
            }
            let at = start + now;
            let fresh = remb.filter(|(_, heard)| now - *heard < REMB_TIME).map(|(bps, _)| bps);
            let estimate = reported.estimate_bps(at);
            prop_assert_eq!(estimate, fresh.map_or(reported.bps, |bps| bps.min(reported.bps)));
            prop_assert_eq!(again.estimate_bps(at), estimate, "the same input has the same output");
            prop_assert!(reported.pause <= LAST_PAUSE);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// So many milliseconds pass.
    Wait(u64),
    /// A report: the fraction of lost packets, and the sent rate.
    Report(u8, u64),
    Remb(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let bps = || prop_oneof![4 => 0..30_000_000_u64, 1 => any::<u64>()];
    let fraction = prop_oneof![Just(0_u8), 0..40_u8, any::<u8>()];
    prop_oneof![
        3 => prop_oneof![0..3_000_u64, 0..1_000_000_000_u64].prop_map(Step::Wait),
        4 => (fraction, bps()).prop_map(|(fraction, bps)| Step::Report(fraction, bps)),
        1 => bps().prop_map(Step::Remb),
    ]
}
