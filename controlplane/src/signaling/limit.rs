//! A token bucket: limits the rate of events.

use std::time::Instant;

/// Holds up to `capacity` tokens and gains `per_second`. Each event takes one or more.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A bucket that is full at `now`.
    pub fn new(capacity: u32, per_second: u32, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self {
            capacity,
            per_second: f64::from(per_second),
            tokens: capacity,
            filled_at: now,
        }
    }

    /// Takes a token; false if the bucket has none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_all(1, now)
    }

    /// Takes `tokens`; false, without taking any, if the bucket has fewer.
    pub fn take_all(&mut self, tokens: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
        let tokens = f64::from(tokens);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 5, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 5);
        let much_later = start + Duration::from_secs(100);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 10);
        assert!(!bucket.take(start), "time that goes back fills nothing");
        assert!(!bucket.take(much_later), "and nothing is filled twice");
        let full = much_later + Duration::from_secs(100);
        assert!(bucket.take_all(6, full) && !bucket.take_all(6, full) && bucket.take_all(4, full));
    }
}
