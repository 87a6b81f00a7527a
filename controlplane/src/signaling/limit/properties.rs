//! Properties of the token bucket, for any requests at any times.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::properties::config;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn no_window_passes_more_than_the_burst_and_the_rate(
        (capacity, per_second) in (1..200_u32, 1..200_u32),
        requests in vec((-500..3_000_i64, 0..40_u32), 1..80),
    ) {
        let start = Instant::now();
        let (mut now_ms, mut latest_ms) = (0_i64, 0_i64);
        let mut bucket = TokenBucket::new(capacity, per_second, start + Duration::from_secs(60));
        let mut taken: Vec<(i64, u32)> = Vec::new();
        for (step_ms, tokens) in requests {
            now_ms += step_ms; // time may go back a little
            latest_ms = latest_ms.max(now_ms);
            let now = start + Duration::from_millis(now_ms.max(-60_000).saturating_add(60_000) as u64);
            if bucket.take_all(tokens, now) {
                taken.push((latest_ms, tokens));
            }
            prop_assert!((0.0..=bucket.capacity).contains(&bucket.tokens));
            for (at, (since_ms, _)) in taken.iter().enumerate() {
                let sum: u32 = taken[at..].iter().map(|(_, tokens)| tokens).sum();
                let gained = (latest_ms - since_ms) as f64 / 1_000.0 * f64::from(per_second);
                prop_assert!(f64::from(sum) <= f64::from(capacity) + gained + 1e-6, "{} tokens", sum);
            }
        }
    }

    #[test]
    fn a_bucket_is_full_again_after_its_time(
        (capacity, per_second) in (1..200_u32, 1..200_u32),
        taken in vec(1..100_u32, 1..20),
    ) {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(capacity, per_second, start);
        let passed: u32 = taken.into_iter().filter(|tokens| bucket.take_all(*tokens, start)).sum();
        prop_assert!(!bucket.take_all(capacity - passed + 1, start), "what is refused takes nothing");
        let full = start + Duration::from_secs_f64(f64::from(passed) / f64::from(per_second) + 0.001);
        prop_assert!(!bucket.take_all(capacity + 1, full));
        prop_assert!(bucket.take_all(capacity, full));
    }
}
