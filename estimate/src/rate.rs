//! Delay-based estimate: grows until the queue grows, then falls below the received rate (draft-ietf-rmcat-gcc-02
//! section 5.5).

/// Minimum of the estimate, in bits per second.
pub const MIN_BPS: u64 = 50_000;

/// The estimate after the queue grew, as a fraction of the received rate.
const DECREASE: f64 = 0.85;
/// Growth per second far from the ceiling.
const GROWTH: f64 = 1.08;
/// Without a probe the estimate grows only up to this multiple of the received rate, plus a constant.
const UNPROVEN: f64 = 1.5;
const UNPROVEN_BPS: f64 = 10_000.0;
/// Growth near the ceiling: half a packet per response time.
const RESPONSE_US: f64 = 100_000.0;
const HALF_PACKET_BITS: f64 = 4_800.0;
const NEAR_CEILING: f64 = 0.8;
const PAST_CEILING: f64 = 1.25;
/// Time for a decrease to take effect.
const DECREASE_INTERVAL_US: std::ops::RangeInclusive<i64> = 100_000..=300_000;
const MAX_BPS: f64 = 1e9;

/// The delay-based estimate of the path.
#[derive(Debug)]
pub(super) struct Rate {
    bps: f64,
    /// Received rate when the queue last grew; `None` if unknown.
    ceiling_bps: Option<f64>,
    grown_us: Option<i64>,
    decreased_us: Option<i64>,
}

impl Rate {
    pub(super) fn new(bps: u64) -> Self {
        Self {
            bps: bound(bps as f64),
            ceiling_bps: None,
            grown_us: None,
            decreased_us: None,
        }
    }

    pub(super) fn bps(&self) -> u64 {
        self.bps as u64
    }

    /// Time when the queue last grew.
    pub(super) fn decreased_us(&self) -> Option<i64> {
        self.decreased_us
    }

    /// Time since the queue last grew, in µs.
    pub(super) fn since_decrease_us(&self, now_us: i64) -> i64 {
        self.decreased_us.map_or(i64::MAX, |at_us| now_us - at_us)
    }

    /// The queue does not grow: raises the estimate.
    pub(super) fn increase(&mut self, acked_bps: u64, rtt_us: i64, now_us: i64) {
        let acked_bps = acked_bps as f64;
        let passed_us = now_us - self.grown_us.replace(now_us).unwrap_or(now_us);
        let passed_us = passed_us.clamp(0, 1_000_000) as f64;
        self.ceiling_bps = self
            .ceiling_bps
            .filter(|ceiling| acked_bps < ceiling * PAST_CEILING);
        let near = self
            .ceiling_bps
            .is_some_and(|ceiling| self.bps > ceiling * NEAR_CEILING);
        let grown = if near {
            self.bps + HALF_PACKET_BITS * passed_us / (RESPONSE_US + rtt_us as f64)
        } else {
            self.bps * GROWTH.powf(passed_us / 1e6)
        };
        let limit = acked_bps * UNPROVEN + UNPROVEN_BPS;
        self.bps = bound(grown.min(limit).max(self.bps));
    }

    /// Keeps the estimate; growth continues from this time.
    pub(super) fn hold(&mut self, now_us: i64) {
        self.grown_us = Some(now_us);
    }

    /// The queue grows while `acked_bps` arrive: lowers the estimate. False if a decrease is already taking effect.
    pub(super) fn decrease(&mut self, acked_bps: u64, rtt_us: i64, now_us: i64) -> bool {
        self.hold(now_us);
        let interval_us = rtt_us.clamp(*DECREASE_INTERVAL_US.start(), *DECREASE_INTERVAL_US.end());
        if self.since_decrease_us(now_us) < interval_us {
            return false;
        }
        let acked_bps = acked_bps as f64;
        self.decreased_us = Some(now_us);
        self.ceiling_bps = Some(acked_bps);
        self.bps = bound(self.bps.min(acked_bps * DECREASE));
        true
    }

    /// A probe proved that the path carries `bps`.
    pub(super) fn prove(&mut self, bps: u64) {
        let bps = bound(bps as f64);
        self.ceiling_bps = self
            .ceiling_bps
            .filter(|ceiling| bps < ceiling * PAST_CEILING);
        self.bps = self.bps.max(bps);
    }

    /// Lowers the estimate while no feedback arrives.
    pub(super) fn fall(&mut self, factor: f64) {
        self.bps = bound(self.bps * factor);
    }
}

fn bound(bps: f64) -> f64 {
    bps.clamp(MIN_BPS as f64, MAX_BPS)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn growth_without_proof_ends_and_a_proof_lifts_it() {
        let mut rate = Rate::new(300_000);
        for tenth in 0..600 {
            rate.increase(300_000, 50_000, tenth * SECOND / 10);
        }
        assert_eq!(rate.bps(), 460_000);
        rate.prove(2_000_000);
        rate.increase(300_000, 50_000, 61 * SECOND);
        assert_eq!(rate.bps(), 2_000_000);
        rate.prove(900_000);
        assert_eq!(rate.bps(), 2_000_000);
    }

    #[test]
    fn a_decrease_is_felt_once_and_growth_is_careful_after_it() {
        let mut rate = Rate::new(3_000_000);
        assert!(rate.decrease(1_000_000, 50_000, 0));
        assert!(!rate.decrease(800_000, 50_000, 99_000));
        assert_eq!(rate.bps(), 850_000);
        for tenth in 1..=10 {
            rate.increase(850_000, 50_000, tenth * SECOND / 10);
        }
        assert!((865_000..890_000).contains(&rate.bps()), "{}", rate.bps());
        for tenth in 11..=50 {
            rate.increase(2_000_000, 50_000, tenth * SECOND / 10);
        }
        assert!(rate.bps() > 1_150_000, "{}", rate.bps());
        assert!(rate.decrease(10, 50_000, 9 * SECOND));
        assert_eq!(rate.bps(), MIN_BPS);
    }
}
