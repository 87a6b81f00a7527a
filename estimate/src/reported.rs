//! Estimate for subscribers without transport-wide feedback (native clients): from the losses in receiver reports, and
//! from REMB.
//!
//! Without arrival times a queue that grows is not seen before it overflows. So the estimate rises slowly, by what holds
//! without loss, and after a rise that did not hold it waits longer before the next.

use std::time::{Duration, Instant};

/// The estimate of one subscriber.
#[derive(Debug)]
pub struct Reported {
    bps: u64,
    /// Time of the last change by a report.
    changed: Option<Instant>,
    /// Time before which the estimate does not rise.
    rises_after: Option<Instant>,
    /// Pause after the next loss.
    pause: Duration,
    remb: Option<(u64, Instant)>,
}

/// Reports are looked at so often: browsers and native clients send one or two a second.
const INTERVAL: Duration = Duration::from_millis(900);
/// Loss below which the estimate rises, and above which it falls, as in RFC 8698's loss-based mode.
const LITTLE_LOSS: f64 = 0.02;
const MUCH_LOSS: f64 = 0.10;
/// Factor of growth per second.
const RISE: f64 = 1.08;
/// Minimum part of the sent rate after a fall.
const FALL: f64 = 0.85;
const MIN_BPS: u64 = 100_000;
const MAX_BPS: u64 = 20_000_000;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// A REMB holds for so long.
const REMB_TIME: Duration = Duration::from_secs(10);

impl Reported {
    /// An estimate for the lowest layers only, before any report.
    pub fn new() -> Self {
        Self {
            bps: 0,
            changed: None,
            rises_after: None,
            pause: FIRST_PAUSE,
            remb: None,
        }
    }

    /// Reports say that `lost` of the packets were lost, 0 to 1, while `sent_bps` were sent. True when the estimate
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

    /// Handles a REMB of the client. True when it changes the estimate.
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
mod tests {
    use super::*;

    /// Seconds of reports over a path that takes `capacity` bits per second, on which the layers below `estimate` are
    /// sent; the estimate after each, and how many packets were lost in all.
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
