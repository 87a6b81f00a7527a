//! Loss-based bound of the estimate (draft-ietf-rmcat-gcc-02 section 6). Few losses are ignored, because radio links
//! lose packets. Many losses mean that the rate is too high, even if delays do not grow.

/// Minimum number of packets, and minimum time, of an observation.
const OBSERVED_PACKETS: u32 = 30;
const OBSERVED_US: i64 = 400_000;
/// Limits of the loss in percent: above the upper limit the estimate falls, below the lower one it may rise, between
/// them it stays.
const TOO_MANY: u32 = 10;
const FORGIVEN: u32 = 5;
/// Growth in percent per observation with few losses.
const GROWTH: u64 = 5;

/// Upper bound of the estimate because of losses, in bits per second.
#[derive(Debug, Default)]
pub(super) struct LossBound {
    bps: Option<u64>,
    lost: u32,
    packets: u32,
    since_us: Option<i64>,
}

impl LossBound {
    /// The bound; `None` if losses do not limit the estimate.
    pub(super) fn bps(&self) -> Option<u64> {
        self.bps
    }

    pub(super) fn arrived(&mut self, was_lost: bool) {
        match was_lost {
            true => self.lost = self.lost.saturating_sub(1),
            false => self.packets += 1,
        }
    }

    pub(super) fn lost(&mut self) {
        self.lost += 1;
        self.packets += 1;
    }

    /// Updates the bound; `allowed_bps` is the delay-based estimate, `estimate_bps` the estimate so far.
    pub(super) fn update(&mut self, allowed_bps: u64, estimate_bps: u64, now_us: i64) {
        let since_us = *self.since_us.get_or_insert(now_us);
        if self.packets < OBSERVED_PACKETS || now_us - since_us < OBSERVED_US {
            return;
        }
        let lost_percent = self.lost * 100 / self.packets;
        if lost_percent >= TOO_MANY {
            self.bps = Some(estimate_bps * u64::from(200 - lost_percent.min(100)) / 200);
        } else if lost_percent < FORGIVEN {
            let grown = self.bps.map(|bps| bps + bps * GROWTH / 100);
            self.bps = grown.filter(|bps| *bps < allowed_bps);
        }
        self.since_us = Some(now_us);
        self.lost = 0;
        self.packets = 0;
    }

    /// A probe at `bps` arrived nearly without loss.
    pub(super) fn prove(&mut self, bps: u64) {
        self.bps = self.bps.map(|bound| bound.max(bps));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimate after ten seconds with a loss of `lost` percent.
    fn estimate_after(lost: u32) -> u64 {
        let mut bound = LossBound::default();
        let mut estimate = 1_000_000;
        for packet in 0..2_000_u32 {
            match packet * 37 % 100 < lost {
                true => bound.lost(),
                false => bound.arrived(false),
            }
            bound.update(1_000_000, estimate, i64::from(packet) * 5_000);
            estimate = bound.bps().unwrap_or(1_000_000);
        }
        estimate
    }

    #[test]
    fn few_losses_mean_nothing_and_many_do() {
        assert_eq!(estimate_after(0), 1_000_000);
        assert_eq!(estimate_after(4), 1_000_000);
        assert_eq!(estimate_after(8), 1_000_000);
        assert!(estimate_after(20) < 200_000);
    }

    #[test]
    fn a_bound_grows_away_and_what_was_only_late_is_no_loss() {
        let mut bound = LossBound::default();
        bound.update(1_000_000, 1_000_000, 0);
        (0..40).for_each(|_| bound.lost());
        (0..39).for_each(|_| bound.arrived(true));
        bound.update(1_000_000, 1_000_000, 500_000);
        assert_eq!(bound.bps(), None);
        (0..40).for_each(|_| bound.lost());
        bound.update(1_000_000, 1_000_000, 1_000_000);
        assert_eq!(bound.bps(), Some(500_000));
        for second in 2..40 {
            (0..40).for_each(|_| bound.arrived(false));
            bound.update(1_000_000, 500_000, second * 1_000_000);
        }
        assert_eq!(bound.bps(), None);
    }
}
