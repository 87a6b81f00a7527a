//! A simulated path in virtual time: bottleneck, queue, delay, jitter, loss, a receiver that may wake up late, and
//! encoded feedback. The tests state what the estimator must do.

mod path; // the simulated network between sender and receiver
mod source; // simulated video source
mod tests; // the estimator on simulated paths

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spillway_wire::rtcp::{
    DELTA_US, Packet, REFERENCE_US, TransportHeader, packets, write_transport_feedback,
};

use crate::Estimator;
use path::Path;
use source::Source;

const TICK_US: i64 = 1_000;
const FRAME_US: i64 = 33_000;
const PACKET_BYTES: usize = 1_200;

struct Simulation {
    estimator: Estimator,
    start: Instant,
    now_us: i64,
    random: fastrand::Rng,
    path: Path,
    source: Source,
    owed_bits: i64,
    link_free_us: i64,
    /// Sequence number and arrival time of packets on the path.
    flying: VecDeque<(u16, i64)>,
    /// Packets that arrived but were not reported, by sequence number.
    arrived: Vec<(u16, i64)>,
    next_report: u16,
    feedback_at_us: i64,
    feedback_count: u8,
    feedback: VecDeque<(i64, Vec<u8>)>,
    sent_bytes: u64,
    padding_bytes: u64,
    wakes: u32,
    /// Number of feedback messages that the estimator refused.
    refused: usize,
    /// Longest queueing time since it was last read.
    longest_queue_us: i64,
}

impl Simulation {
    fn new(initial_bps: u64, path: Path, source: Source) -> Self {
        let start = Instant::now();
        Self {
            estimator: Estimator::new(initial_bps, start),
            start,
            now_us: 0,
            random: fastrand::Rng::with_seed(7),
            path,
            source,
            owed_bits: 0,
            link_free_us: 0,
            flying: VecDeque::new(),
            arrived: Vec::new(),
            next_report: 0,
            feedback_at_us: path.feedback_us,
            feedback_count: 0,
            feedback: VecDeque::new(),
            sent_bytes: 0,
            padding_bytes: 0,
            wakes: 0,
            refused: 0,
            longest_queue_us: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.now_us as u64)
    }

    fn estimate(&self) -> u64 {
        self.estimator.estimate_bps().unwrap_or(0)
    }

    /// Runs for some seconds. Returns the lowest and the highest estimate.
    fn run(&mut self, seconds: f64) -> (u64, u64) {
        let end_us = self.now_us + (seconds * 1e6) as i64;
        let (mut lowest, mut highest) = (u64::MAX, 0);
        while self.now_us < end_us {
            self.now_us += TICK_US;
            self.send_media();
            self.estimator
                .set_targets(self.source.sustain_bps, self.source.desired_bps);
            self.wake();
            self.receive();
            self.hear();
            if let Some(bps) = self.estimator.estimate_bps() {
                (lowest, highest) = (lowest.min(bps), highest.max(bps));
            }
        }
        (lowest, highest)
    }

    /// Longest queueing time since the last call, in ms.
    fn queue_ms(&mut self) -> i64 {
        std::mem::take(&mut self.longest_queue_us) / 1_000
    }

    fn send_media(&mut self) {
        if self.now_us % FRAME_US != 0 {
            return;
        }
        let allowed = self.estimator.estimate_bps().unwrap_or(300_000);
        let fitting = self.source.layers_bps.iter().filter(|bps| **bps <= allowed);
        let bps = fitting.max().or(self.source.layers_bps.first()).copied();
        let unsteady = self.source.unsteady_percent;
        let share = 100 + self.random.i64(-unsteady..=unsteady);
        self.owed_bits += bps.unwrap_or(0) as i64 * FRAME_US / 1_000_000 * share / 100;
        while self.owed_bits > 0 {
            let bytes = (self.owed_bits as usize / 8).clamp(100, PACKET_BYTES);
            self.owed_bits -= bytes as i64 * 8;
            self.send(bytes, false);
        }
    }

    fn wake(&mut self) {
        if self.estimator.deadline().is_none_or(|at| at > self.now()) {
            return;
        }
        self.wakes += 1;
        self.estimator.handle_timeout(self.now());
        loop {
            let due = self.estimator.padding_due(self.now());
            if due == 0 {
                return;
            }
            self.padding_bytes += due.clamp(100, PACKET_BYTES) as u64;
            self.send(due.clamp(100, PACKET_BYTES), true);
        }
    }

    fn send(&mut self, bytes: usize, padding: bool) {
        let seq = self.estimator.sent(bytes, self.now(), padding);
        self.sent_bytes += bytes as u64;
        let waits_us = (self.link_free_us - self.now_us).max(0);
        if waits_us > self.path.queue_us || self.random.u8(0..100) < self.path.loss_percent {
            return;
        }
        self.longest_queue_us = self.longest_queue_us.max(waits_us);
        self.link_free_us = self.now_us + waits_us + bytes as i64 * 8_000_000 / self.path.bps;
        let jitter_us = self.random.i64(0..=self.path.jitter_us);
        let mut arrives_us = self.link_free_us + self.path.delay_us + jitter_us;
        if self.path.late_us > 0 {
            // Usually soon, now and then very late.
            let late_us = self.path.late_us;
            let slot = arrives_us / late_us;
            let rest_us = arrives_us % late_us;
            if (slot * 7 + slot / 3) % 5 == 0 {
                arrives_us += late_us - rest_us;
            }
        }
        let after_us = self.flying.back().map_or(0, |(_, at_us)| *at_us);
        self.flying.push_back((seq, arrives_us.max(after_us)));
    }

    fn receive(&mut self) {
        while let Some((seq, at_us)) = self.flying.front().copied()
            && at_us <= self.now_us
        {
            self.flying.pop_front();
            self.arrived.push((seq, at_us));
        }
        if self.now_us < self.feedback_at_us || self.arrived.is_empty() {
            return;
        }
        self.feedback_at_us = self.now_us + self.path.feedback_us;
        let bytes = self.report();
        if self.random.u8(0..100) >= self.path.feedback_loss_percent {
            self.feedback
                .push_back((self.now_us + self.path.delay_us, bytes));
        }
    }

    /// Encodes feedback about all packets since the last report.
    fn report(&mut self) -> Vec<u8> {
        let base_seq = self.next_report;
        let reference = self.arrived[0].1 / REFERENCE_US;
        let mut last_ticks = reference * REFERENCE_US / DELTA_US;
        let mut deltas = Vec::new();
        for (seq, at_us) in self.arrived.drain(..) {
            while self.next_report != seq {
                deltas.push(None);
                self.next_report = self.next_report.wrapping_add(1);
            }
            let ticks = at_us / DELTA_US;
            deltas.push(Some((ticks - last_ticks) as i32));
            last_ticks = ticks;
            self.next_report = self.next_report.wrapping_add(1);
        }
        let head = TransportHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_seq,
            reference_time: reference as u32,
            feedback_count: self.feedback_count,
        };
        self.feedback_count = self.feedback_count.wrapping_add(1);
        let mut bytes = vec![0; 64 + deltas.len() * 3];
        let length = write_transport_feedback(&head, &deltas, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn hear(&mut self) {
        while let Some((at_us, _)) = self.feedback.front()
            && *at_us <= self.now_us
        {
            let (_, bytes) = self.feedback.pop_front().unwrap();
            self.refused += usize::from(!self.give_feedback(&bytes));
        }
    }

    /// Passes feedback to the estimator. True when it was accepted.
    fn give_feedback(&mut self, bytes: &[u8]) -> bool {
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets(bytes).next() else {
            panic!("no feedback in {bytes:02x?}");
        };
        let now = self.now();
        self.estimator.feedback(&feedback, now).is_ok()
    }
}
