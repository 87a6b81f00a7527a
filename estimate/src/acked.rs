//! Rate of acknowledged packets over the last 500 ms, in bits per second.

const BUCKETS: i64 = 10;
const BUCKET_US: i64 = 50_000;
/// Minimum time that the window must cover for a rate, in µs.
const MIN_COVERED_US: i64 = 300_000;

/// A sliding window over nearly ordered times, in steps of a tenth of its length.
#[derive(Debug, Default)]
pub(super) struct RateWindow {
    bytes_by_bucket: [u32; BUCKETS as usize],
    newest_bucket: i64,
    /// Earliest and latest time in the window.
    span_us: Option<(i64, i64)>,
}

impl RateWindow {
    pub(super) fn add(&mut self, at_us: i64, bytes: u64) {
        let bucket = at_us.div_euclid(BUCKET_US);
        let (first_us, last_us) = self.span_us.unwrap_or_else(|| {
            self.newest_bucket = bucket;
            (at_us, at_us)
        });
        self.span_us = Some((first_us.min(at_us), last_us.max(at_us)));
        let passed = bucket - self.newest_bucket;
        if passed <= -BUCKETS {
            return;
        }
        for empty in 1..=passed.min(BUCKETS) {
            self.bytes_by_bucket[index(bucket - passed.min(BUCKETS) + empty)] = 0;
        }
        self.newest_bucket = self.newest_bucket.max(bucket);
        let bytes_there = &mut self.bytes_by_bucket[index(bucket)];
        *bytes_there = bytes_there.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Adds bytes that arrived evenly between the latest time and `at_us`.
    pub(super) fn add_evenly(&mut self, at_us: i64, bytes: u64) {
        let last_us = self
            .span_us
            .map_or(at_us, |(_, last_us)| last_us.min(at_us));
        for part in 1..=BUCKETS {
            let share =
                bytes * part as u64 / BUCKETS as u64 - bytes * (part as u64 - 1) / BUCKETS as u64;
            self.add(last_us + (at_us - last_us) * part / BUCKETS, share);
        }
    }

    /// The rate at the latest time, in bits per second; `None` if the window covers less than `MIN_COVERED_US`.
    pub(super) fn bps(&self) -> Option<u64> {
        self.bps_at(self.span_us?.1)
    }

    /// The rate at `now_us`, in bits per second; `now_us` must not be before the latest time. `None` if the window
    /// covers less than `MIN_COVERED_US`.
    pub(super) fn bps_at(&self, now_us: i64) -> Option<u64> {
        let (first_us, _) = self.span_us?;
        let oldest_bucket = now_us.div_euclid(BUCKET_US) - (BUCKETS - 1);
        let covered_us = now_us - first_us.max(oldest_bucket * BUCKET_US);
        if covered_us < MIN_COVERED_US {
            return None;
        }
        let kept = oldest_bucket.max(self.newest_bucket - (BUCKETS - 1))..=self.newest_bucket;
        let bytes: u64 = kept
            .map(|bucket| u64::from(self.bytes_by_bucket[index(bucket)]))
            .sum();
        Some(bytes * 8 * 1_000_000 / covered_us as u64)
    }
}

fn index(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_silence_ends_it() {
        let mut window = RateWindow::default();
        assert_eq!(window.bps_at(0), None);
        // 1,250 bytes every 10 ms: 1 Mb/s.
        for packet in 0..1_000 {
            window.add(packet * 10_000, 1_250);
            if packet >= 60 {
                let bps = window.bps().unwrap();
                assert!((990_000..=1_030_000).contains(&bps), "{bps}");
            }
        }
        let bps = window.bps_at(10_240_000).unwrap();
        assert!((400_000..600_000).contains(&bps), "{bps}");
        assert_eq!(window.bps_at(20_000_000), Some(0));
        window.add(20_000_000, 1_250);
        assert!(window.bps().unwrap() < 25_000, "old buckets are empty");
    }

    #[test]
    fn disorder_counts_where_it_belongs() {
        let mut window = RateWindow::default();
        window.add(-700_000, 1_000);
        window.add(0, 1_000);
        window.add(-100_000, 1_000);
        window.add(-600_000, 9_000);
        let expected = 2 * 1_000 * 8 * 1_000_000 / 450_000;
        assert_eq!(window.bps(), Some(expected));
    }
}
