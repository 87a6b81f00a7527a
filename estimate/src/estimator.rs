//! The bandwidth estimator: sent packets and feedback in, bandwidth estimate out.

use std::time::Instant;

use spillway_wire::rtcp::{DELTA_US, StatusRun, TransportFeedback};

use super::acked::RateWindow;
use super::arrival::Arrivals;
use super::budget::{FeedbackError, MAX_STATUSES_PER_FEEDBACK, StatusBudget};
use super::clock::{Clock, ReceiverClock};
use super::loss::LossBound;
use super::probe::Prober;
use super::queue::Queue;
use super::rate::{MIN_BPS, Rate};
use super::sent::{Packet, Sent};
use super::sustain::Sustain;
use super::trendline::{Trendline, Usage};

/// If less than this percentage of the estimate is sent, the application limits the rate.
const LIMITED_PERCENT: u64 = 70;
/// A growing queue counts when all packets wait this long. If the application limits the rate, the time must be longer,
/// because then our packets do not fill the queue.
const STANDING_US: i64 = 10_000;
const STANDING_LIMITED_US: i64 = 50_000;
/// A queue of this length must shrink, even if it does not grow.
const STANDING_MAX_US: i64 = 80_000;
/// Rates and queue lengths above this percentage of another value count as equal to it.
const SAME_PERCENT: u64 = 90;
const PATH_MEMORY_US: i64 = 4_000_000;
/// Time for a decrease to take effect. Padding before that would make the queue longer.
const RECOVERY_US: i64 = 1_000_000;
/// If no feedback arrives for this long, the estimate is lowered in steps.
const SILENCE_US: i64 = 2_000_000;
const SILENCE_STEP_US: i64 = 500_000;
const SILENCE_FACTOR: f64 = 0.9;
/// Minimum change in percent that is reported; increases not more often than the interval.
const NOTABLE_PERCENT: u64 = 5;
const NOTABLE_INTERVAL_US: i64 = 250_000;

/// Bandwidth estimator of one path.
///
/// Call [`sent`](Self::sent) for every packet with a transport-wide sequence number, and [`feedback`](Self::feedback)
/// for each feedback message. Call [`padding_due`](Self::padding_due) and [`handle_timeout`](Self::handle_timeout) at
/// [`deadline`](Self::deadline), which every call may change.
///
/// Memory: about 1.5 KiB, and 8 bytes on the heap for each packet of the last second, at least 2 KiB and at most 16
/// KiB. It allocates at most three times, when the rate outgrows the heap part.
#[derive(Debug)]
pub struct Estimator {
    clock: Clock,
    receiver: ReceiverClock,
    sent: Sent,
    status_budget: StatusBudget,
    sent_rate: RateWindow,
    acked_rate: RateWindow,
    arrivals: Arrivals,
    trendline: Trendline,
    queue: Queue,
    at_decrease: Seen,
    rate: Rate,
    loss: LossBound,
    prober: Prober,
    sustain: Sustain,
    set_targets: Targets,
    pub(super) rtt_us: Option<i64>,
    /// Time when the silence becomes too long; `None` while no packet awaits feedback.
    silent_us: Option<i64>,
    last_reported: LastReport,
}

const _: () = assert!(size_of::<Estimator>() <= 1_536);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Targets {
    sustain_bps: u64,
    desired_bps: u64,
}

/// Sent rate and length of the queue at one time.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    sent_bps: u64,
    standing_us: i64,
}

/// The estimate that was last reported to the caller.
#[derive(Debug, Default)]
struct LastReport {
    bps: u64,
    at_us: i64,
    changed: bool,
}

impl Estimator {
    /// An estimator without measurements; `initial_bps` is assumed.
    pub fn new(initial_bps: u64, now: Instant) -> Self {
        Self {
            clock: Clock::new(now),
            receiver: ReceiverClock::default(),
            sent: Sent::default(),
            status_budget: StatusBudget::default(),
            sent_rate: RateWindow::default(),
            acked_rate: RateWindow::default(),
            arrivals: Arrivals::default(),
            trendline: Trendline::new(),
            queue: Queue::new(),
            at_decrease: Seen::default(),
            rate: Rate::new(initial_bps),
            loss: LossBound::default(),
            prober: Prober::new(initial_bps.max(MIN_BPS)),
            sustain: Sustain::default(),
            set_targets: Targets::default(),
            rtt_us: None,
            silent_us: None,
            last_reported: LastReport::default(),
        }
    }

    /// Records a packet of `bytes` (UDP payload) that leaves at `now`. Returns the transport-wide sequence number that
    /// it must carry. `padding`: the packet was requested by [`padding_due`](Self::padding_due).
    pub fn sent(&mut self, bytes: usize, now: Instant, padding: bool) -> u16 {
        let now_us = self.clock.us(now);
        // Media that leaves during a probe is part of the probe, but not before the first padding of the probe.
        let cluster = match padding || self.prober.has_begun() {
            true => self.prober.sent(bytes, now_us),
            false => 0,
        };
        self.sustain.sent(bytes);
        let seq = self.sent.push(bytes, now_us, cluster);
        self.status_budget.sent();
        self.sent_rate.add(now_us, bytes as u64);
        if self.rtt_us.is_some() && self.silent_us.is_none() {
            self.silent_us = Some(now_us + SILENCE_US);
        }
        seq
    }

    /// Handles a feedback message. Statuses of packets that are no longer remembered, or were reported before, have no
    /// effect. The work is bounded by the bytes of `feedback` and by the number of sent packets.
    pub fn feedback(
        &mut self,
        feedback: &TransportFeedback<'_>,
        now: Instant,
    ) -> Result<(), FeedbackError> {
        self.admit(feedback)?;
        let now_us = self.clock.us(now);
        let reading = self.receiver.read(feedback.reference_time(), now_us);
        let mut at_us = reading.at_us;
        let mut fresh_rtt_us: Option<i64> = None;
        for run in feedback.runs() {
            let Some(ticks) = run.ticks else {
                self.lost(run, now_us);
                continue;
            };
            let seq = run.seq;
            at_us += i64::from(ticks) * DELTA_US;
            let Some(packet) = self.sent.arrived(seq, now_us) else {
                continue;
            };
            if fresh_rtt_us.is_none() {
                self.receiver.remember(reading);
                if reading.jumped {
                    self.forget_delays();
                }
                let skipped_bytes = self.sent.skip_to(feedback.base_seq());
                if skipped_bytes > 0 {
                    self.acked_rate.add_evenly(at_us, skipped_bytes);
                }
            }
            let rtt_us = now_us - packet.sent_us;
            fresh_rtt_us = Some(fresh_rtt_us.map_or(rtt_us, |least| least.min(rtt_us)));
            self.arrived(&packet, at_us);
        }
        let Some(fresh_rtt_us) = fresh_rtt_us else {
            return Ok(());
        };
        self.silent_us = None;
        let end = feedback.base_seq().wrapping_add(feedback.status_count());
        self.sent.reported_to(end);
        let rtt_us = self.rtt_us.get_or_insert(fresh_rtt_us);
        *rtt_us += (fresh_rtt_us - *rtt_us) / 8;
        self.decide(now_us);
        Ok(())
    }

    /// Sets the targets: padding sustains `sustain_bps` until the path is proven to carry it; probes go up to
    /// `desired_bps`. (0, 0): no targets.
    pub fn set_targets(&mut self, sustain_bps: u64, desired_bps: u64) {
        self.set_targets = Targets {
            sustain_bps,
            desired_bps,
        };
        if sustain_bps <= self.allowed_bps() {
            self.sustain.stop();
        }
    }

    /// The estimate in bits per second; `None` before the first feedback.
    pub fn estimate_bps(&self) -> Option<u64> {
        self.rtt_us.map(|_| self.allowed_bps())
    }

    /// Bytes of padding to send now, 0 if none. The caller sends packets of up to about 1,200 bytes and calls
    /// [`sent`](Self::sent) for each, until this returns 0. A caller that cannot send may stop until the next deadline.
    pub fn padding_due(&mut self, now: Instant) -> usize {
        let now_us = self.clock.us(now);
        if self.wants_probe() {
            let (allowed_bps, desired_bps) = (self.allowed_bps(), self.set_targets.desired_bps);
            if !self.is_recovering(now_us) {
                self.prober.start(allowed_bps, desired_bps, now_us);
            }
        }
        let probe = self.prober.due(now_us);
        if probe > 0 || self.prober.is_out() {
            return probe as usize;
        }
        if !self.wants_sustain() {
            self.sustain.stop();
            return 0;
        }
        let bps = self.set_targets.sustain_bps.min(self.allowed_bps());
        let bytes = self.sustain.due(bps, now_us);
        match self.is_recovering(now_us) {
            true => 0,
            false => bytes as usize,
        }
    }

    /// Time of the next work of [`handle_timeout`](Self::handle_timeout) or [`padding_due`](Self::padding_due);
    /// `None`: nothing is due.
    pub fn deadline(&self) -> Option<Instant> {
        let wants_probe = self.wants_probe();
        let probe_us = self.prober.deadline_us(wants_probe).map(|at_us| {
            let recovered_us = self.rate.decreased_us().map_or(0, |us| us + RECOVERY_US);
            match self.prober.is_out() {
                true => at_us,
                false => at_us.max(recovered_us),
            }
        });
        let sustain_us = match self.wants_sustain() && !self.prober.is_out() {
            true => Some(self.sustain.deadline_us().unwrap_or(0)),
            false => None,
        };
        [probe_us, sustain_us, self.silent_us]
            .into_iter()
            .flatten()
            .min()
            .map(|at_us| self.clock.instant(at_us))
    }

    /// Handles timers that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_us = self.clock.us(now);
        if self.silent_us.is_some_and(|at_us| now_us >= at_us) {
            let is_sending = self.sent_rate.bps_at(now_us).is_some_and(|bps| bps > 0);
            if is_sending {
                self.rate.fall(SILENCE_FACTOR);
            }
            self.silent_us = is_sending.then_some(now_us + SILENCE_STEP_US);
        }
        self.conclude_probe(now_us);
        self.report_change(now_us);
    }

    /// True once after the estimate changed by at least 5 %; increases are reported at most four times per second.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.last_reported.changed)
    }

    fn allowed_bps(&self) -> u64 {
        let by_delay = self.rate.bps();
        self.loss
            .bps()
            .map_or(by_delay, |by_loss| by_loss.min(by_delay))
            .max(MIN_BPS)
    }

    /// Checks that `feedback` covers packets that were sent, and not too many.
    fn admit(&mut self, feedback: &TransportFeedback<'_>) -> Result<(), FeedbackError> {
        let (base_seq, count) = (feedback.base_seq(), feedback.status_count());
        if count > MAX_STATUSES_PER_FEEDBACK {
            return Err(FeedbackError::TooLong(count));
        }
        let remembered = self
            .sent
            .remembered(base_seq, count)
            .ok_or(FeedbackError::NeverSent { base_seq, count })?;
        self.status_budget.take(remembered)
    }

    fn lost(&mut self, run: StatusRun, now_us: i64) {
        for seq in self.sent.remembered_of(run.seq, run.count) {
            if let Some(packet) = self.sent.lost(seq, now_us) {
                self.loss.lost();
                self.prober.lost(&packet);
            }
        }
    }

    fn arrived(&mut self, packet: &Packet, at_us: i64) {
        self.loss.arrived(packet.was_lost);
        if !packet.was_skipped {
            self.acked_rate.add(at_us, u64::from(packet.bytes));
        }
        self.prober.arrived(packet, at_us);
        self.queue.add(packet.sent_us, at_us);
        if let Some(step) = self.arrivals.add(packet.sent_us, at_us) {
            self.trendline.add(step);
        }
    }

    /// The receiver's clock jumped: earlier delays cannot be compared any more.
    fn forget_delays(&mut self) {
        self.arrivals = Arrivals::default();
        self.trendline = Trendline::new();
        self.queue = Queue::new();
        self.acked_rate = RateWindow::default();
    }

    fn decide(&mut self, now_us: i64) {
        self.conclude_probe(now_us);
        let estimate_bps = self.allowed_bps();
        if let Some(acked_bps) = self.acked_rate.bps() {
            self.follow_delays(acked_bps, now_us);
        }
        self.loss.update(self.rate.bps(), estimate_bps, now_us);
        self.report_change(now_us);
    }

    fn follow_delays(&mut self, acked_bps: u64, now_us: i64) {
        let sent_bps = self.sent_rate.bps_at(now_us).unwrap_or(0);
        let is_limited = sent_bps * 100 < self.allowed_bps() * LIMITED_PERCENT;
        let seen = Seen {
            sent_bps,
            standing_us: self.queue.standing_us(),
        };
        let enough_us = if is_limited {
            STANDING_LIMITED_US
        } else {
            STANDING_US
        };
        match self.trendline.usage() {
            // A probe makes a short queue itself.
            Usage::Over if self.prober.is_out() => self.rate.hold(now_us),
            Usage::Over if seen.standing_us >= enough_us => {
                self.decrease(acked_bps, seen, now_us);
            }
            Usage::Over | Usage::Under => self.rate.hold(now_us),
            Usage::Normal if seen.standing_us >= STANDING_MAX_US => {
                self.drain(acked_bps, seen, now_us);
            }
            Usage::Normal => {
                let rtt_us = self.rtt_us.unwrap_or(0);
                self.rate.increase(acked_bps, rtt_us, now_us);
            }
        }
    }

    /// Handles a queue that does not grow. If it does not shrink when less is sent, it is not a queue: the path became
    /// longer.
    fn drain(&mut self, acked_bps: u64, seen: Seen, now_us: i64) {
        let since_us = self.rate.since_decrease_us(now_us);
        let before = self.at_decrease;
        let is_path = since_us < PATH_MEMORY_US
            && seen.sent_bps * 100 < before.sent_bps * SAME_PERCENT
            && seen.standing_us * 100 > before.standing_us * SAME_PERCENT as i64;
        if since_us < RECOVERY_US {
            self.rate.hold(now_us);
        } else if is_path {
            self.queue.accept();
        } else {
            self.decrease(acked_bps, seen, now_us);
        }
    }

    fn decrease(&mut self, acked_bps: u64, seen: Seen, now_us: i64) {
        let rtt_us = self.rtt_us.unwrap_or(0);
        if self.rate.decrease(acked_bps, rtt_us, now_us) {
            self.at_decrease = seen;
        }
    }

    fn conclude_probe(&mut self, now_us: i64) {
        if let Some(proof) = self.prober.conclude(now_us) {
            self.rate.prove(proof.bps);
            if proof.is_clean {
                self.loss.prove(proof.bps);
            }
        }
    }

    fn wants_probe(&self) -> bool {
        let is_heard = self.rtt_us.is_some() || self.prober.is_new();
        is_heard && !self.sent.is_empty() && self.set_targets.desired_bps > self.allowed_bps()
    }

    fn wants_sustain(&self) -> bool {
        self.rtt_us.is_some() && self.set_targets.sustain_bps > self.allowed_bps()
    }

    fn is_recovering(&self, now_us: i64) -> bool {
        self.rate.since_decrease_us(now_us) < RECOVERY_US
    }

    fn report_change(&mut self, now_us: i64) {
        let Some(bps) = self.estimate_bps() else {
            return;
        };
        let step = self.last_reported.bps * NOTABLE_PERCENT / 100;
        let rose = bps >= self.last_reported.bps + step.max(1);
        let fell = bps + step.max(1) <= self.last_reported.bps;
        if fell
            || rose
                && (self.last_reported.bps == 0
                    || now_us - self.last_reported.at_us >= NOTABLE_INTERVAL_US)
        {
            self.last_reported = LastReport {
                bps,
                at_us: now_us,
                changed: true,
            };
        }
    }
}

#[cfg(test)]
mod properties;
