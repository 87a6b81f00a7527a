//! Padding that sustains the sent rate when the application sends less.

/// Interval of padding, in µs.
const INTERVAL_US: i64 = 25_000;
/// Padding that is overdue by more than this is not sent.
const MAX_DEBT_US: i64 = 50_000;
/// Bytes sent above the rate count against padding for this long.
const MAX_CREDIT_US: i64 = 200_000;
const MIN_BYTES: i64 = 200;

/// Bytes that are missing to the rate that must be sustained.
#[derive(Debug, Default)]
pub(super) struct Sustain {
    /// Time of the last call of `due`; `None` while no rate is sustained.
    since_us: Option<i64>,
    owed_bytes: i64,
}

impl Sustain {
    /// Subtracts a sent packet from the missing bytes.
    pub(super) fn sent(&mut self, bytes: usize) {
        if self.since_us.is_some() {
            self.owed_bytes = self.owed_bytes.saturating_sub(bytes as i64);
        }
    }

    /// Bytes of padding to send now, so that `bps` are sent in total.
    pub(super) fn due(&mut self, bps: u64, now_us: i64) -> u64 {
        let bytes_in = |us: i64| us.saturating_mul(bps as i64) / 8_000_000;
        let passed_us = now_us - self.since_us.replace(now_us).unwrap_or(now_us);
        let least = -bytes_in(MAX_CREDIT_US);
        let most = bytes_in(MAX_DEBT_US).max(MIN_BYTES);
        self.owed_bytes =
            (self.owed_bytes + bytes_in(passed_us.min(MAX_DEBT_US))).clamp(least, most);
        match self.owed_bytes {
            i64::MIN..MIN_BYTES => 0,
            owed => owed as u64,
        }
    }

    /// Stops sustaining a rate.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(super) fn deadline_us(&self) -> Option<i64> {
        self.since_us.map(|since_us| since_us + INTERVAL_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_what_the_application_leaves() {
        let mut sustain = Sustain::default();
        let mut padding = 0;
        // 400 kb/s of an application, 1 Mb/s to sustain.
        for now_us in (0..10_000_000).step_by(25_000) {
            sustain.sent(1_250);
            while let due @ 1.. = sustain.due(1_000_000, now_us) {
                sustain.sent(due as usize);
                padding += due;
            }
        }
        assert!((740_000..=760_000).contains(&padding), "{padding}");
        let mut enough = Sustain::default();
        for now_us in (0..1_000_000).step_by(25_000) {
            enough.sent(4_000);
            assert_eq!(enough.due(1_000_000, now_us), 0);
        }
        let late = enough.due(1_000_000, 60_000_000);
        assert!(late <= 6_250, "{late}");
    }
}
