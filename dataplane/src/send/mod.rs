//! What we send to a subscriber under its keys: RTP, retransmissions, padding, sender reports.
//!
//! The session layer negotiates; from its keys on, everything with an SSRC of ours is numbered, sealed
//! and accounted for here, straight into the send arena.

pub mod history; // the latest packets of a track, to send again
pub mod kept; // sealed datagrams, for subscribers without RTX
pub mod report; // sender reports
pub mod resend; // what one stream may send again
pub mod run; // which packets of a session leave as one run
pub mod stream; // one outgoing SSRC

use std::time::{Duration, Instant};

use crate::estimate::Estimator;
use crate::srtp::Sealer;

/// The sending half of a subscribe session.
pub struct Sender {
    sealer: Option<Sealer>,
    /// Made when there is something to choose.
    estimator: Option<Box<Estimator>>,
    /// The subscriber tells when packets arrived, if they are numbered for it.
    can_measure: bool,
    /// They are: what its path takes decides something.
    is_measuring: bool,
    next_report: Option<Instant>,
    /// To the subscriber and back, smoothed; zero until it is known.
    rtt: Duration,
}

/// What a subscriber is assumed to be able to receive before anything was measured, bits per second.
pub const INITIAL_ESTIMATE_BPS: u64 = 1_500_000;
/// How often a subscriber is told what was sent: libwebrtc's interval for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A longer way there and back is not believed.
const MAX_RTT: Duration = Duration::from_secs(2);
/// One part of so many of the RTT is the newest sample (RFC 6298 section 2).
const RTT_SMOOTHING: u32 = 8;

impl Sender {
    /// Without keys: sends nothing yet.
    pub fn new() -> Self {
        Self {
            sealer: None,
            estimator: None,
            can_measure: false,
            is_measuring: false,
            next_report: None,
            rtt: Duration::ZERO,
        }
    }

    /// The handshake is done.
    pub fn keyed(&mut self, sealer: Sealer, now: Instant) {
        self.sealer = Some(sealer);
        self.next_report = Some(now + REPORT_INTERVAL);
    }

    /// The keys, and the estimator while the path is measured; `None` before the handshake.
    pub fn keys(&mut self) -> Option<(&mut Sealer, Option<&mut Estimator>)> {
        let sealer = self.sealer.as_mut()?;
        let estimator = self.estimator.as_deref_mut();
        Some((sealer, estimator.filter(|_| self.is_measuring)))
    }

    /// Asks for the memory of the keys.
    pub fn prefetch(&self) {
        if let Some(sealer) = &self.sealer {
            sealer.prefetch();
        }
    }

    /// An m-line was negotiated, with or without transport-wide sequence numbers.
    pub fn negotiated(&mut self, can_be_measured: bool) {
        self.can_measure |= can_be_measured;
    }

    /// Measures the path from now on, or no longer: numbers and feedback cost both sides something, and
    /// without a choice of layers they decide nothing.
    pub fn measure(&mut self, has_choice: bool, now: Instant) {
        self.is_measuring = has_choice && self.can_measure;
        if self.is_measuring {
            let new = || Box::new(Estimator::new(INITIAL_ESTIMATE_BPS, now));
            self.estimator.get_or_insert_with(new);
        }
    }

    /// What its path takes.
    pub fn estimator(&mut self) -> Option<&mut Estimator> {
        self.estimator.as_deref_mut()
    }

    /// Bits per second its path takes; `None` when that cannot be known.
    pub fn estimate_bps(&self) -> Option<u64> {
        let estimate = || self.estimator.as_ref()?.estimate_bps();
        self.can_measure
            .then(|| estimate().unwrap_or(INITIAL_ESTIMATE_BPS))
    }

    /// True when sender reports are due; the next ones are an interval later.
    pub fn take_report_due(&mut self, now: Instant) -> bool {
        let due = self.next_report.is_some_and(|at| at <= now);
        if due {
            self.next_report = Some(now + REPORT_INTERVAL);
        }
        due
    }

    /// The way to the subscriber and back took so long.
    pub fn measured_rtt(&mut self, sample: Duration) {
        let sample = sample.min(MAX_RTT);
        self.rtt = match self.rtt {
            Duration::ZERO => sample,
            known => (known * (RTT_SMOOTHING - 1) + sample) / RTT_SMOOTHING,
        };
    }

    /// To the subscriber and back; zero until it is known.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// When something is due: reports, padding, a look at the estimate.
    pub fn deadline(&self) -> Option<Instant> {
        let estimator = self.estimator.as_ref().filter(|_| self.is_measuring);
        let estimator = estimator.and_then(|estimator| estimator.deadline());
        self.next_report.into_iter().chain(estimator).min()
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}
