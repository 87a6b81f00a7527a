//! A token bucket of bytes: filled at a rate per second, holds the bytes of one second.

use std::time::Instant;

/// Bytes left in the bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    bytes: u32,
    filled: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant, bytes_per_second: u32) -> Self {
        Self {
            bytes: bytes_per_second,
            filled: now,
        }
    }

    /// Takes `bytes`; takes nothing and returns false when fewer are left.
    pub(super) fn take(&mut self, now: Instant, bytes_per_second: u32, bytes: usize) -> bool {
        let waited_ns = now.saturating_duration_since(self.filled).as_nanos();
        let fresh = waited_ns * u128::from(bytes_per_second) / 1_000_000_000;
        if fresh > 0 {
            let filled = u128::from(self.bytes) + fresh;
            self.bytes =
                u32::try_from(filled.min(u128::from(bytes_per_second))).expect("the rate is a u32");
            self.filled = now;
        }
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.bytes.checked_sub(bytes));
        if let Some(left) = left {
            self.bytes = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_is_used_up_and_comes_back_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start, 1_000);
        assert!(bucket.take(start, 1_000, 1_000));
        assert!(!bucket.take(start, 1_000, 1));
        let later = start + Duration::from_millis(500);
        assert!(!bucket.take(later, 1_000, 501));
        assert!(bucket.take(later, 1_000, 500));
        let much_later = start + Duration::from_secs(3_600);
        assert!(!bucket.take(much_later, 1_000, 1_001), "a second's at most");
        assert!(bucket.take(much_later, 1_000, 1_000));
    }

    #[test]
    fn asking_often_does_not_lose_what_comes_slowly() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start, 1_000);
        assert!(bucket.take(start, 1_000, 1_000));
        let mut taken = 0;
        for microsecond in 0..100_000 {
            let now = start + Duration::from_micros(microsecond);
            taken += u32::from(bucket.take(now, 1_000, 1));
        }
        assert!((98..=100).contains(&taken), "{taken}");
    }
}
