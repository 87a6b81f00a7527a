//! Properties of runs, for packets of any sizes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn runs_take_all_packets_in_order_within_their_limits(sizes in sizes(), max_padding in 0..200_usize) {
        let mut rest = &sizes[..];
        while !rest.is_empty() {
            let Cut { packets, segment_bytes } = cut(rest.iter().copied(), max_padding);
            prop_assert!((1..=rest.len().min(MAX_RUN_DATAGRAMS)).contains(&packets));
            let (run, after) = rest.split_at(packets);
            let (last, padded) = run.split_last().unwrap();
            prop_assert_eq!(segment_bytes, run.iter().copied().max().unwrap());
            prop_assert!(padded.iter().all(|size| segment_bytes - size <= max_padding));
            let bytes = padded.len() * segment_bytes + last;
            prop_assert!(bytes <= MAX_RUN_BYTES || packets == 1);
            // The next packet did not fit: it would be too many, too long, or need too much padding.
            if let Some(next) = after.first() {
                let grown = segment_bytes.max(*next);
                let most = run.iter().map(|size| grown - size).max().unwrap();
                let fits = packets < MAX_RUN_DATAGRAMS && (packets + 1) * grown <= MAX_RUN_BYTES;
                prop_assert!(!fits || most > max_padding);
            }
            rest = after;
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let alike = (100..1_400_usize, vec(0..12_usize, 1..90));
    prop_oneof![
        vec(1..1_500_usize, 1..40),
        alike.prop_map(|(base, more)| more.into_iter().map(|more| base + more).collect()),
    ]
}
