//! Estimate for subscribers without transport-wide feedback (native clients): from losses in receiver reports, and from
//! REMB.
//!
//! Without arrival times a growing queue is not visible before it overflows. So the estimate rises slowly while there
//! is no loss, and waits longer before the next rise after a rise that caused loss.

use std::time::{Duration, Instant};

/// Estimate of one subscriber's path.
#[derive(Debug)]
pub struct Reported {
    bps: u64,
    /// Time of the last change because of a report.
    changed: Option<Instant>,
    /// Time before which the estimate does not rise.
    rises_after: Option<Instant>,
    /// Length of the pause after the next loss.
    pause: Duration,
    remb: Option<(u64, Instant)>,
}

/// Interval at which reports are evaluated: clients send one or two per second.
const INTERVAL: Duration = Duration::from_millis(900);
/// Loss (0 to 1) below which the estimate rises, and above which it falls (draft-ietf-rmcat-gcc-02 section 6).
const LITTLE_LOSS: f64 = 0.02;
const MUCH_LOSS: f64 = 0.10;
/// Growth factor per second.
const RISE: f64 = 1.08;
/// Maximum of the estimate after a fall, as a fraction of the sent rate.
const FALL: f64 = 0.85;
const MIN_BPS: u64 = 100_000;
const MAX_BPS: u64 = 20_000_000;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Time for which a REMB is valid.
const REMB_TIME: Duration = Duration::from_secs(10);

impl Reported {
    /// An estimator without reports; its estimate is enough for the lowest layers.
    pub fn new() -> Self {
        Self {
            bps: 0,
            changed: None,
            rises_after: None,
            pause: FIRST_PAUSE,
            remb: None,
        }
    }

    /// Handles reports: `lost` (0 to 1) of the packets were lost while `sent_bps` were sent. True when the estimate
    /// changed.
    pub fn report(&mut self, lost: f64, sent_bps: u64, now: Instant) -> bool {
        let since = self.changed.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < INTERVAL) {
            return false;
        }
        self.changed = Some(now);
        let before = self.bps;
        if lost > MUCH_LOSS {
            let part = FALL.min(1.0 - lost / 2.0);
            let fallen = (sent_bps.min(self.bps.max(MIN_BPS)) as f64 * part) as u64;
            self.bps = fallen.max(MIN_BPS);
            self.rises_after = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        } else if lost < LITTLE_LOSS && self.rises_after.is_none_or(|at| at <= now) {
            let seconds = since.map_or(1.0, |since| since.as_secs_f64().min(2.0));
            let risen = (self.bps as f64 * RISE.powf(seconds)) as u64;
            self.bps = risen.max(sent_bps).clamp(MIN_BPS, MAX_BPS);
        }
        self.bps != before
    }

    /// Handles a REMB of the client. True when the estimate changed.
    pub fn remb(&mut self, bps: u64, now: Instant) -> bool {
        let before = self.estimate_bps(now);
        self.remb = Some((bps, now));
        self.estimate_bps(now) != before
    }

    /// The lower of our estimate and the latest REMB of the client, in bits per second.
    pub fn estimate_bps(&self, now: Instant) -> u64 {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < REMB_TIME;
        match self.remb {
            Some((remb, at)) if is_fresh(at) => self.bps.min(remb),
            Some(_) | None => self.bps,
        }
    }
}

impl Default for Reported {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates reports for some seconds over a path with `capacity` bits per second; layers below the estimate are
    /// sent. Returns the estimate after each second, and the fraction of all packets that was lost.
    fn over(capacity: u64, seconds: u64) -> (Vec<u64>, f64) {
        const LAYERS: [u64; 3] = [150_000, 500_000, 1_700_000];
        let (start, mut reported) = (Instant::now(), Reported::new());
        let (mut estimates, mut all_lost) = (Vec::new(), 0.0);
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            let estimate = reported.estimate_bps(now);
            let affordable = LAYERS.iter().filter(|bps| **bps <= estimate).max();
            let sent = *affordable.unwrap_or(&LAYERS[0]);
            let lost = sent.saturating_sub(capacity) as f64 / sent as f64;
            all_lost += lost;
            reported.report(lost, sent, now);
            estimates.push(reported.estimate_bps(now));
        }
        (estimates, all_lost / seconds as f64)
    }

    #[test]
    fn nothing_is_assumed_before_a_report() {
        let now = Instant::now();
        let mut reported = Reported::new();
        assert_eq!(reported.estimate_bps(now), 0);
        assert!(reported.report(0.0, 200_000, now));
        assert_eq!(reported.estimate_bps(now), 200_000);
        assert!(!reported.report(0.5, 200_000, now), "one report a second");
    }

    #[test]
    fn a_wide_path_gets_the_best_layer_within_a_minute() {
        let (estimates, lost) = over(50_000_000, 60);
        assert!(estimates.last() >= Some(&1_700_000) && lost == 0.0);
    }

    #[test]
    fn a_narrow_path_gets_what_holds_most_of_the_time() {
        let (estimates, lost) = over(700_000, 600);
        let late = &estimates[120..];
        let fits = late
            .iter()
            .filter(|bps| (500_000..1_700_000).contains(*bps))
            .count();
        assert!(fits * 10 > late.len() * 8, "{fits} of {}", late.len());
        assert!(lost < 0.03, "{lost}");
    }

    #[test]
    fn a_remb_is_a_limit_while_it_is_fresh() {
        let now = Instant::now();
        let mut reported = Reported::new();
        reported.report(0.0, 900_000, now);
        assert!(reported.remb(400_000, now));
        assert_eq!(reported.estimate_bps(now), 400_000);
        assert!(!reported.remb(400_000, now));
        assert_eq!(reported.estimate_bps(now + REMB_TIME), 900_000);
    }
}
