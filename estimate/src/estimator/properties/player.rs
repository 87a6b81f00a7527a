//! Plays what a sender and an honest or hostile receiver do, and records what the caller of the estimator sees.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use spillway_wire::rtcp::{
    DELTA_US, Packet as RtcpPacket, TransportHeader, packets, write_transport_feedback,
};

use crate::{Estimator, FeedbackError};

/// Bytes of a padding packet.
const PADDING_BYTES: usize = 1_200;
/// Zero of the receiver's clock, on ours.
const OFFSET_US: i64 = 7_000_000;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Media packets are sent, one after a pause.
    Send {
        count: usize,
        bytes: usize,
        gap_us: i64,
    },
    /// So many milliseconds pass.
    Wait(u64),
    /// Feedback about all packets since the last one.
    Honest {
        delay_us: i64,
        growth_us: i64,
        lost: Vec<bool>,
        late_ms: u64,
    },
    /// Feedback as nobody measured it: from a number relative to the next one, with runs of equal statuses.
    Hostile {
        base: i16,
        reference: u32,
        runs: Vec<(Option<i16>, usize)>,
        count: u8,
    },
    /// An earlier feedback comes again.
    Again(Index),
    Targets(u64, u64),
    /// Padding cannot be sent.
    Blocked,
}

impl Step {
    pub(super) fn honest() -> Self {
        Self::Honest {
            delay_us: 30_000,
            growth_us: 0,
            lost: vec![],
            late_ms: 20,
        }
    }
}

/// What the caller sees after a step.
#[derive(Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) estimate_bps: Option<u64>,
    pub(super) deadline: Option<Instant>,
    pub(super) has_changed: bool,
    pub(super) answers: Vec<Result<(), FeedbackError>>,
    pub(super) padding_bytes: usize,
    pub(super) sustain_bps: u64,
    pub(super) desired_bps: u64,
}

struct Player {
    estimator: Estimator,
    start: Instant,
    now_us: i64,
    /// Time of sending of each packet.
    sent_us: Vec<i64>,
    /// Number of packets that honest feedback has covered.
    heard: usize,
    feedback: Vec<Vec<u8>>,
}

pub(super) fn play(initial_bps: u64, steps: &[Step], start: Instant) -> Vec<Moment> {
    let estimator = Estimator::new(initial_bps, start);
    let mut player = Player {
        estimator,
        start,
        now_us: 0,
        sent_us: vec![],
        heard: 0,
        feedback: vec![],
    };
    let moments = steps.iter().map(|step| {
        let answers = player.play(step);
        let now = player.now();
        player.estimator.handle_timeout(now);
        let padding_bytes = if matches!(step, Step::Blocked) {
            0
        } else {
            player.pad()
        };
        Moment {
            now,
            estimate_bps: player.estimator.estimate_bps(),
            deadline: player
                .estimator
                .deadline()
                .filter(|_| !matches!(step, Step::Blocked)),
            has_changed: player.estimator.take_changed(),
            answers,
            padding_bytes,
            sustain_bps: player.estimator.set_targets.sustain_bps,
            desired_bps: player.estimator.set_targets.desired_bps,
        }
    });
    moments.collect()
}

impl Player {
    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.now_us as u64)
    }

    fn play(&mut self, step: &Step) -> Vec<Result<(), FeedbackError>> {
        match step {
            Step::Send {
                count,
                bytes,
                gap_us,
            } => {
                for _ in 0..*count {
                    self.now_us += gap_us;
                    self.send(*bytes, false);
                }
            }
            Step::Wait(ms) => self.now_us += *ms as i64 * 1_000,
            Step::Targets(sustain, desired) => self.estimator.set_targets(*sustain, *desired),
            Step::Blocked => {}
            Step::Honest {
                delay_us,
                growth_us,
                lost,
                late_ms,
            } => {
                self.now_us += *late_ms as i64 * 1_000;
                let arrived_us = |(at, sent_us): (usize, &i64)| {
                    let is_lost = lost.get(at % 31).copied().unwrap_or(false);
                    (!is_lost).then_some(sent_us + OFFSET_US + delay_us + growth_us * at as i64)
                };
                let times: Vec<_> = self.sent_us[self.heard..]
                    .iter()
                    .enumerate()
                    .map(arrived_us)
                    .collect();
                let base_seq = self.heard as u16;
                self.heard = self.sent_us.len();
                let Some(first_us) = times.iter().flatten().next().copied() else {
                    return vec![];
                };
                let reference = first_us / 64_000;
                let mut at_us = reference * 64_000;
                let deltas = times.iter().map(|time| {
                    time.map(|time| {
                        let ticks = (time - at_us) / DELTA_US;
                        at_us += ticks * DELTA_US;
                        ticks as i32
                    })
                });
                let deltas: Vec<_> = deltas.collect();
                return self.hear(base_seq, reference as u32 & 0xff_ffff, &deltas);
            }
            Step::Hostile {
                base,
                reference,
                runs,
                count,
            } => {
                let deltas = runs
                    .iter()
                    .flat_map(|(ticks, length)| vec![ticks.map(i32::from); *length]);
                let deltas: Vec<_> = deltas.collect();
                let base_seq = (self.sent_us.len() as u16).wrapping_add_signed(*base);
                return (0..*count)
                    .flat_map(|_| self.hear(base_seq, *reference, &deltas))
                    .collect();
            }
            Step::Again(index) if !self.feedback.is_empty() => {
                let bytes = self.feedback[index.index(self.feedback.len())].clone();
                return vec![self.handle(&bytes)];
            }
            Step::Again(_) => {}
        }
        vec![]
    }

    fn send(&mut self, bytes: usize, is_padding: bool) {
        let now = self.now();
        let seq = self.estimator.sent(bytes, now, is_padding);
        assert_eq!(seq, self.sent_us.len() as u16);
        self.sent_us.push(self.now_us);
    }

    /// Sends the padding that is due. Returns its bytes.
    fn pad(&mut self) -> usize {
        let mut bytes = 0;
        while let due @ 1.. = self.estimator.padding_due(self.now()) {
            let packet = due.min(PADDING_BYTES);
            self.send(packet, true);
            bytes += packet;
        }
        bytes
    }

    fn hear(
        &mut self,
        base_seq: u16,
        reference_time: u32,
        deltas: &[Option<i32>],
    ) -> Vec<Result<(), FeedbackError>> {
        let head = TransportHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_seq,
            reference_time,
            feedback_count: 0,
        };
        let mut bytes = vec![0; 64 + deltas.len() * 4];
        let Some(length) = write_transport_feedback(&head, deltas, &mut bytes) else {
            return vec![]; // an arrival time that a receiver could not write either
        };
        bytes.truncate(length);
        let answer = self.handle(&bytes);
        self.feedback.push(bytes);
        vec![answer]
    }

    fn handle(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        let Some(Ok(RtcpPacket::TransportFeedback(feedback))) = packets(bytes).next() else {
            panic!("what was written is feedback");
        };
        self.estimator.feedback(&feedback, self.now())
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let gap_us = prop_oneof![4 => 0..10_000_i64, 1 => 0..200_000_i64];
    let send = (1..200_usize, 0..1_500_usize, gap_us);
    let honest = (
        0..500_000_i64,
        -200..2_000_i64,
        prop_oneof![Just(vec![]), vec(any::<bool>(), 31)],
        0..200_u64,
    );
    let base = prop_oneof![4 => -300..20_i16, 1 => any::<i16>()];
    let ticks = prop::option::weighted(0.7, prop_oneof![-40..400_i16, any::<i16>()]);
    let length = prop_oneof![6 => 1..60_usize, 1 => 1..3_000_usize];
    let hostile = (base, 0..0x100_0000_u32, vec((ticks, length), 0..6), 1..3_u8);
    prop_oneof![
        8 => send.prop_map(|(count, bytes, gap_us)| Step::Send { count, bytes, gap_us }),
        2 => prop_oneof![6 => 0..3_000_u64, 1 => 0..7_200_000_u64].prop_map(Step::Wait),
        6 => honest
            .prop_map(|(delay_us, growth_us, lost, late_ms)| Step::Honest { delay_us, growth_us, lost, late_ms }),
        4 => hostile
            .prop_map(|(base, reference, runs, count)| Step::Hostile { base, reference, runs, count }),
        2 => any::<Index>().prop_map(Step::Again),
        2 => (0..10_000_000_u64, 0..10_000_000_u64).prop_map(|(sustain, desired)| Step::Targets(sustain, desired)),
        1 => Just(Step::Blocked),
    ]
}
