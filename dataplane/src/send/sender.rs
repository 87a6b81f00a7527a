//! The sending half of a subscribe session: its keys, its bandwidth estimate and the times of its reports.

use std::time::{Duration, Instant};

use spillway_estimate::{Estimator, Reported};

use crate::srtp::Sealer;

/// Sending state of a subscribe session, shared by all its streams.
pub struct Sender {
    sealer: Option<Sealer>,
    /// Created when a choice of layers depends on the bandwidth.
    estimator: Option<Box<Estimator>>,
    /// True if the subscriber negotiated transport-wide feedback, so the path can be measured.
    can_measure: bool,
    /// True while the path is measured, because the bandwidth decides the choice of layers.
    is_measuring: bool,
    next_report: Option<Instant>,
    /// Time of the next sender reports of all streams.
    next_full_report: Option<Instant>,
    /// Estimate from receiver reports and REMB, for a path without transport-wide feedback.
    reported: Option<Box<Losses>>,
    /// Smoothed round trip time; zero until it is known.
    rtt: Duration,
}

/// Streams that send a sender report now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// All streams of the session.
    All,
    /// Only streams that recently started or changed their source.
    Quick,
}

/// Estimate before the first measurement, in bits per second.
pub const INITIAL_ESTIMATE_BPS: u64 = 1_500_000;
/// Interval of sender reports: libwebrtc's interval for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of sender reports after a change of the source.
const QUICK_REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// A longer RTT sample is limited to this value.
const MAX_RTT: Duration = Duration::from_secs(2);
/// A new RTT sample has the weight 1/`RTT_SMOOTHING` (RFC 6298 section 2).
const RTT_SMOOTHING: u32 = 8;

impl Sender {
    /// A sender without keys: nothing is sent yet.
    pub fn new() -> Self {
        Self {
            sealer: None,
            estimator: None,
            can_measure: false,
            is_measuring: false,
            next_report: None,
            next_full_report: None,
            reported: None,
            rtt: Duration::ZERO,
        }
    }

    /// Sets the keys after the DTLS handshake.
    pub fn keyed(&mut self, sealer: Sealer, now: Instant) {
        self.sealer = Some(sealer);
        self.next_report = Some(now + REPORT_INTERVAL);
    }

    /// Keys, and the estimator while the path is measured; `None` before the handshake.
    pub fn keys(&mut self) -> Option<(&mut Sealer, Option<&mut Estimator>)> {
        let sealer = self.sealer.as_mut()?;
        let estimator = self.estimator.as_deref_mut();
        Some((sealer, estimator.filter(|_| self.is_measuring)))
    }

    /// Prefetches the memory of the keys.
    pub fn prefetch(&self) {
        if let Some(sealer) = &self.sealer {
            sealer.prefetch();
        }
    }

    /// Records whether an m-line was negotiated with transport-wide feedback.
    pub fn negotiated(&mut self, can_be_measured: bool) {
        self.can_measure |= can_be_measured;
    }

    /// Starts or stops measuring the path. Without a choice of layers, the path is not measured: sequence numbers and
    /// feedback would cost bandwidth and CPU time on both sides without use.
    pub fn measure(&mut self, has_choice: bool, now: Instant) {
        self.is_measuring = has_choice && self.can_measure;
        if self.is_measuring {
            let new = || Box::new(Estimator::new(INITIAL_ESTIMATE_BPS, now));
            self.estimator.get_or_insert_with(new);
        }
    }

    /// Bandwidth estimator of the path, if it is measured.
    pub fn estimator(&mut self) -> Option<&mut Estimator> {
        self.estimator.as_deref_mut()
    }

    /// Estimated bandwidth of the path, in bits per second.
    pub fn estimate_bps(&self, now: Instant) -> u64 {
        if self.can_measure {
            let estimate = || self.estimator.as_ref()?.estimate_bps();
            return estimate().unwrap_or(INITIAL_ESTIMATE_BPS);
        }
        let reported = self.reported.as_ref();
        reported.map_or(0, |losses| losses.estimate.estimate_bps(now))
    }

    /// Handles receiver reports. `lost` is the highest loss of a stream (0 to 1), `octets` the payload bytes of video
    /// sent so far (wraps). True when the estimate changed.
    pub fn reported(&mut self, lost: f64, octets: u32, now: Instant) -> bool {
        if self.can_measure {
            return false;
        }
        let new = || Box::new(Losses::new(octets, now));
        self.reported
            .get_or_insert_with(new)
            .report(lost, octets, now)
    }

    /// Handles a REMB message of the subscriber. True when the estimate changed.
    pub fn remb(&mut self, bps: u64, now: Instant) -> bool {
        let reported = self.reported.as_mut().filter(|_| !self.can_measure);
        reported.is_some_and(|losses| losses.estimate.remb(bps, now))
    }

    /// The sender reports that are due, if any. If `hurries`, the next ones follow after the quick interval.
    pub fn take_reports_due(&mut self, hurries: bool, now: Instant) -> Option<Due> {
        let at = self.next_report.filter(|at| *at <= now)?;
        let all_at = self.next_full_report.unwrap_or(at);
        let due = if all_at <= now { Due::All } else { Due::Quick };
        if due == Due::All {
            self.next_full_report = Some(now + REPORT_INTERVAL);
        }
        let full = self.next_full_report.unwrap_or(now + REPORT_INTERVAL);
        let quick = hurries.then(|| now + QUICK_REPORT_INTERVAL);
        self.next_report = Some(quick.map_or(full, |quick| quick.min(full)));
        Some(due)
    }

    /// Adds an RTT sample from a receiver report.
    pub fn measured_rtt(&mut self, sample: Duration) {
        let sample = sample.min(MAX_RTT);
        self.rtt = match self.rtt {
            Duration::ZERO => sample,
            known => (known * (RTT_SMOOTHING - 1) + sample) / RTT_SMOOTHING,
        };
    }

    /// Smoothed round trip time; zero until it is known.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Time of the next work: reports, padding or an update of the estimate.
    pub fn deadline(&self) -> Option<Instant> {
        let estimator = self.estimator.as_ref().filter(|_| self.is_measuring);
        let estimator = estimator.and_then(|estimator| estimator.deadline());
        self.next_report.into_iter().chain(estimator).min()
    }
}

/// Loss estimate from receiver reports, and the bytes sent since the last update.
struct Losses {
    estimate: Reported,
    octets: u32,
    since: Instant,
}

/// Minimum interval over which the sent rate is measured.
const LOSSES_INTERVAL: Duration = Duration::from_millis(500);

impl Losses {
    fn new(octets: u32, since: Instant) -> Self {
        Self {
            estimate: Reported::new(),
            octets,
            since,
        }
    }

    fn report(&mut self, lost: f64, octets: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < LOSSES_INTERVAL {
            return false;
        }
        let bits = f64::from(octets.wrapping_sub(self.octets)) * 8.0;
        (self.octets, self.since) = (octets, now);
        let sent_bps = (bits / elapsed.as_secs_f64()) as u64;
        self.estimate.report(lost, sent_bps, now)
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}
