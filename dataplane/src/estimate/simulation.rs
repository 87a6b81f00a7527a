//! A path in virtual time: bottleneck, queue, delay, jitter, loss, a receiver that may be late, feedback as
//! real bytes in both directions of the codec. What the estimator has to do on it stands in the tests.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spillway_wire::rtcp::{
    DELTA_US, Packet, REFERENCE_US, TransportHeader, packets, write_transport_feedback,
};

use super::Estimator;

const TICK_US: i64 = 1_000;
const FRAME_US: i64 = 33_000;
const PACKET_BYTES: usize = 1_200;

/// What lies between sender and receiver.
#[derive(Debug, Clone, Copy)]
struct Path {
    bps: i64,
    queue_us: i64,
    delay_us: i64,
    jitter_us: i64,
    loss_percent: u8,
    feedback_us: i64,
    feedback_loss_percent: u8,
    /// The receiver looks only this often, and only then stamps what arrived; 0: at once.
    late_us: i64,
}

const PATH: Path = Path {
    bps: 100_000_000,
    queue_us: 300_000,
    delay_us: 25_000,
    jitter_us: 0,
    loss_percent: 0,
    feedback_us: 75_000,
    feedback_loss_percent: 0,
    late_us: 0,
};

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Source {
    /// The rates of the layers; the highest that fits is sent.
    layers_bps: &'static [u64],
    /// A camera's frames differ by this much.
    unsteady_percent: i64,
    sustain_bps: u64,
    desired_bps: u64,
}

struct Simulation {
    estimator: Estimator,
    start: Instant,
    now_us: i64,
    random: fastrand::Rng,
    path: Path,
    source: Source,
    owed_bits: i64,
    link_free_us: i64,
    /// Sequence number and time of what is on its way, by arrival.
    flying: VecDeque<(u16, i64)>,
    /// What arrived and was not reported: by sequence number.
    arrived: Vec<(u16, i64)>,
    next_report: u16,
    feedback_at_us: i64,
    feedback_count: u8,
    feedback: VecDeque<(i64, Vec<u8>)>,
    sent_bytes: u64,
    padding_bytes: u64,
    wakes: u32,
    /// Longest stay in the queue since the last look.
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
            longest_queue_us: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.now_us as u64)
    }

    fn estimate(&self) -> u64 {
        self.estimator.estimate_bps().unwrap_or(0)
    }

    /// Runs for a time; the lowest and the highest estimate in it.
    fn run(&mut self, seconds: f64) -> (u64, u64) {
        let end_us = self.now_us + (seconds * 1e6) as i64;
        let (mut lowest, mut highest) = (u64::MAX, 0);
        while self.now_us < end_us {
            self.now_us += TICK_US;
            self.send_media();
            self.estimator
                .aim(self.source.sustain_bps, self.source.desired_bps);
            self.wake();
            self.receive();
            self.hear();
            if let Some(bps) = self.estimator.estimate_bps() {
                (lowest, highest) = (lowest.min(bps), highest.max(bps));
            }
        }
        (lowest, highest)
    }

    /// The queue's longest since the last look.
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
            // Most of the time soon, now and then very late.
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

    /// What a receiver says of everything since its last report.
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
            self.tell(&bytes);
        }
    }

    fn tell(&mut self, bytes: &[u8]) {
        let Some(Ok(Packet::TransportFeedback(feedback))) = packets(bytes).next() else {
            panic!("no feedback in {bytes:02x?}");
        };
        let now = self.now();
        self.estimator.feedback(&feedback, now);
    }
}

/// Fine steps up to 3 Mb/s: what is sent follows the estimate.
const FINE: &[u64] = &{
    let mut layers = [0; 60];
    let mut index = 0;
    while index < layers.len() {
        layers[index] = 50_000 * (index as u64 + 1);
        index += 1;
    }
    layers
};
const GREEDY: Source = Source {
    layers_bps: FINE,
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 3_000_000,
};
const LAYERS: Source = Source {
    layers_bps: &[150_000, 500_000, 2_000_000],
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 2_300_000,
};
const LOW_LAYER: Source = Source {
    layers_bps: &[300_000],
    unsteady_percent: 30,
    sustain_bps: 0,
    desired_bps: 0,
};

fn assert_within(what: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
    assert!(
        range.contains(&value),
        "{what} {value} is outside {range:?}"
    );
}

#[test]
fn a_free_path_is_found_within_two_seconds() {
    for source in [GREEDY, LAYERS] {
        let mut simulation = Simulation::new(300_000, PATH, source);
        simulation.run(2.0);
        assert_within(
            "estimate",
            simulation.estimate(),
            source.desired_bps..=6_000_000,
        );
        let (lowest, _) = simulation.run(30.0);
        assert!(lowest >= source.desired_bps, "fell to {lowest}");
    }
}

#[test]
fn a_bottleneck_is_filled_without_standing_in_its_queue_and_left_when_it_is_lifted() {
    for initial_bps in [100_000, 300_000, 3_000_000] {
        for feedback_us in [50_000, 100_000] {
            let narrow = Path {
                bps: 1_000_000,
                feedback_us,
                ..PATH
            };
            let mut simulation = Simulation::new(initial_bps, narrow, GREEDY);
            simulation.run(6.0);
            simulation.queue_ms();
            let (lowest, highest) = simulation.run(20.0);
            assert_within("lowest", lowest, 700_000..=1_000_000);
            assert_within("highest", highest, 700_000..=1_080_000);
            assert_within("queue", simulation.queue_ms() as u64, 0..=150);
            simulation.path.bps = 5_000_000;
            simulation.run(10.0);
            assert_within("lifted", simulation.estimate(), 3_000_000..=5_200_000);
            simulation.path.bps = 1_000_000;
            simulation.run(4.0);
            simulation.queue_ms();
            let (lowest, _) = simulation.run(10.0);
            assert_within("narrow again", lowest, 600_000..=1_000_000);
            assert_within("queue", simulation.queue_ms() as u64, 0..=150);
        }
    }
}

#[test]
fn a_late_receiver_is_no_queue() {
    for late_us in [40_000, 120_000, 300_000] {
        for source in [GREEDY, LAYERS] {
            let late = Path {
                late_us,
                jitter_us: 5_000,
                ..PATH
            };
            let mut simulation = Simulation::new(300_000, late, source);
            simulation.run(12.0);
            let found = simulation.estimate();
            let (lowest, _) = simulation.run(30.0);
            assert_within("found", found, 2_000_000..=8_000_000);
            assert!(
                lowest * 10 >= found * 7,
                "{late_us}: {found} fell to {lowest}"
            );
        }
    }
}

#[test]
fn a_queue_that_only_stands_is_no_room_to_grow() {
    let steady = Source {
        unsteady_percent: 0,
        ..LOW_LAYER
    };
    let mut simulation = Simulation::new(300_000, PATH, steady);
    simulation.run(5.0);
    assert!(simulation.estimate() > 400_000);
    simulation.path.bps = 100_000;
    simulation.run(0.3);
    simulation.path.bps = 300_000;
    simulation.run(3.0);
    simulation.queue_ms();
    let (_, highest) = simulation.run(6.5);
    assert!(simulation.queue_ms() > 150);
    assert!(highest < 300_000, "{highest}");
}

#[test]
fn a_path_that_became_longer_is_found_to_have_no_queue() {
    for source in [GREEDY, LAYERS] {
        let mut simulation = Simulation::new(300_000, PATH, source);
        simulation.run(5.0);
        simulation.path.delay_us += 150_000;
        let (lowest, _) = simulation.run(12.0);
        assert!(lowest * 5 > source.desired_bps * 2, "fell to {lowest}");
        assert!(simulation.estimate() >= source.desired_bps);
    }
}

#[test]
fn what_is_not_sent_proves_nothing() {
    let mut simulation = Simulation::new(300_000, PATH, LOW_LAYER);
    let (_, highest) = simulation.run(60.0);
    assert_within("without aim", highest, 400_000..=560_000);
    assert_eq!(simulation.padding_bytes, 0);
    assert!(simulation.wakes <= 1, "{} wakes", simulation.wakes);
    simulation.source.desired_bps = 2_000_000;
    simulation.run(3.0);
    assert_within("probed", simulation.estimate(), 2_000_000..=2_500_000);
    assert_within("padding", simulation.padding_bytes, 1_000..=40_000);
    let (lowest, _) = simulation.run(60.0);
    assert!(
        lowest >= 2_000_000,
        "fell to {lowest} while little was sent"
    );
}

#[test]
fn below_what_is_desired_a_probe_every_few_seconds_looks_for_more() {
    let narrow = Path {
        bps: 1_000_000,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, narrow, LAYERS);
    simulation.run(10.0);
    assert_within("estimate", simulation.estimate(), 600_000..=1_050_000);
    let (padding_bytes, wakes) = (simulation.padding_bytes, simulation.wakes);
    simulation.run(30.0);
    let probes = simulation.padding_bytes - padding_bytes;
    assert_within("padding", probes, 20_000..=80_000);
    assert!(
        simulation.wakes - wakes < 200,
        "{}",
        simulation.wakes - wakes
    );
}

#[test]
fn sustaining_raises_what_is_sent_until_it_is_proven() {
    let mut simulation = Simulation::new(300_000, PATH, LOW_LAYER);
    simulation.source.sustain_bps = 700_000;
    simulation.run(20.0);
    assert_within("estimate", simulation.estimate(), 700_000..=800_000);
    let (padding_bytes, wakes) = (simulation.padding_bytes, simulation.wakes);
    assert!(padding_bytes > 50_000, "{padding_bytes}");
    assert!(wakes < 20 * 42, "{wakes}");
    simulation.run(10.0);
    assert_eq!(simulation.padding_bytes, padding_bytes, "it is proven");
}

#[test]
fn few_losses_cost_little_and_many_cost_much() {
    let lossy = |loss_percent| {
        let path = Path {
            loss_percent,
            bps: 4_000_000,
            ..PATH
        };
        let mut simulation = Simulation::new(300_000, path, GREEDY);
        simulation.run(15.0);
        let found = simulation.estimate();
        let (lowest, _) = simulation.run(30.0);
        (found, lowest)
    };
    let (clean, _) = lossy(0);
    let (found, lowest) = lossy(2);
    assert!(found * 100 >= clean * 85, "{found} of {clean}");
    assert!(lowest * 100 >= clean * 85, "{lowest} of {clean}");
    let (_, lowest) = lossy(20);
    assert!(lowest * 2 < clean, "{lowest} of {clean}");
}

#[test]
fn lost_feedback_changes_little() {
    let path = Path {
        bps: 2_000_000,
        feedback_loss_percent: 20,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, path, GREEDY);
    simulation.run(8.0);
    let (lowest, highest) = simulation.run(20.0);
    assert_within("lowest", lowest, 1_300_000..=2_000_000);
    assert_within("highest", highest, 1_300_000..=2_200_000);
}

#[test]
fn repeated_reordered_and_lying_feedback_is_ignored() {
    let mut honest = Simulation::new(300_000, PATH, LAYERS);
    let mut attacked = Simulation::new(300_000, PATH, LAYERS);
    let mut random = fastrand::Rng::with_seed(3);
    let mut old = VecDeque::new();
    for _ in 0..200 {
        honest.run(0.05);
        attacked.run(0.05);
        old.extend(attacked.feedback.iter().map(|(_, bytes)| bytes.clone()));
        // Said again, late, and about packets that were not sent, at any time.
        for _ in 0..3 {
            if let Some(bytes) = old.get(random.usize(0..old.len().max(1))).cloned() {
                let sent_already = attacked.feedback.iter().all(|(_, flying)| *flying != bytes);
                if sent_already {
                    attacked.tell(&bytes);
                }
                let mut lying = bytes;
                let seq = attacked.next_report.wrapping_add(random.u16(8_000..50_000));
                lying[12..14].copy_from_slice(&seq.to_be_bytes());
                lying[16..19].fill_with(|| random.u8(..));
                attacked.tell(&lying);
            }
        }
        assert_eq!(attacked.estimate(), honest.estimate());
    }
    assert!(attacked.estimate() >= 2_300_000);
}

#[test]
fn no_feedback_about_real_packets_does_harm_beyond_the_bounds() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    let mut random = fastrand::Rng::with_seed(5);
    let mut bytes = vec![0; 4_000];
    for _ in 0..2_000 {
        simulation.run(0.01);
        let head = TransportHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_seq: simulation.next_report.wrapping_sub(random.u16(0..200)),
            reference_time: random.u32(0..1 << 24),
            feedback_count: random.u8(..),
        };
        let status = |random: &mut fastrand::Rng| random.bool().then(|| i32::from(random.i16(..)));
        let deltas: Vec<_> = (0..random.usize(0..300))
            .map(|_| status(&mut random))
            .collect();
        let length = write_transport_feedback(&head, &deltas, &mut bytes).unwrap();
        simulation.tell(&bytes[..length]);
        let estimate = simulation.estimate();
        assert!(estimate == 0 || (super::MIN_BPS..=1_000_000_000).contains(&estimate));
        let deadline = simulation.estimator.deadline();
        assert!(deadline.is_none_or(|at| at < simulation.now() + Duration::from_secs(10)));
    }
}

#[test]
fn silence_makes_it_fall_slowly_and_ends() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    simulation.run(5.0);
    let before = simulation.estimate();
    simulation.path.feedback_loss_percent = 100;
    simulation.run(1.9);
    assert_eq!(simulation.estimate(), before);
    simulation.run(3.0);
    assert_within(
        "after five seconds",
        simulation.estimate(),
        before * 4 / 10..=before * 7 / 10,
    );
    simulation.run(60.0);
    assert_eq!(simulation.estimate(), super::MIN_BPS);
    simulation.path.feedback_loss_percent = 0;
    simulation.run(10.0);
    assert!(
        simulation.estimate() >= 2_300_000,
        "{}",
        simulation.estimate()
    );
}

#[test]
fn changes_are_told_when_they_matter() {
    let mut simulation = Simulation::new(300_000, PATH, LAYERS);
    let mut told = 0;
    for _ in 0..100 {
        simulation.run(0.05);
        told += u32::from(simulation.estimator.take_changed());
        assert!(!simulation.estimator.take_changed());
    }
    assert!((3..=20).contains(&told), "{told} times in five seconds");
}

#[test]
fn nothing_is_due_when_nothing_flows() {
    let silent = Source {
        layers_bps: &[],
        ..LAYERS
    };
    let mut simulation = Simulation::new(300_000, PATH, silent);
    simulation.run(10.0);
    assert_eq!((simulation.wakes, simulation.sent_bytes), (0, 0));
    assert_eq!(simulation.estimator.estimate_bps(), None);
    assert_eq!(simulation.estimator.rtt(), None);
    simulation.source = LAYERS;
    simulation.run(5.0);
    simulation.source = Source {
        layers_bps: &[],
        desired_bps: 0,
        ..LAYERS
    };
    simulation.run(5.0);
    assert_eq!(simulation.estimator.deadline(), None);
    let rtt = simulation.estimator.rtt().unwrap();
    assert!((50..=130).contains(&rtt.as_millis()), "{rtt:?}");
}

#[test]
fn a_receiver_that_never_answers_is_probed_once() {
    let mute = Path {
        feedback_loss_percent: 100,
        ..PATH
    };
    let mut simulation = Simulation::new(300_000, mute, LAYERS);
    simulation.run(60.0);
    assert_eq!(simulation.estimator.estimate_bps(), None);
    assert_within("padding", simulation.padding_bytes, 1_000..=6_000);
    assert!(simulation.wakes < 50, "{} wakes", simulation.wakes);
}
