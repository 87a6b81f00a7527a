//! Histograms of call quality, from measurements of sessions.
//!
//! Reports of a subscriber show its quality: a client requests a keyframe when its picture freezes (RFC 4585 section
//! 6.3.1).

use std::time::Duration;

/// One measurement of the quality of a subscription or path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Time from when a subscription can start to its first frame.
    FirstFrame(Duration),
    /// Time from a subscriber's keyframe request to that keyframe.
    Freeze(Duration),
    /// Fraction of a stream's packets lost since the last report block, 0 to 1.
    Loss(f64),
    /// Round trip time in a report block.
    Rtt(Duration),
    /// Bandwidth estimate of a subscriber's path, in bytes per second.
    Estimate(f64),
}

/// A histogram: counts of measurements in buckets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Buckets {
    pub(super) counts: [u64; BUCKETS + 1],
    pub(super) sum: f64,
}

/// Histograms of all kinds of measurements.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quality(pub(super) [Buckets; KINDS.len()]);

pub(super) const BUCKETS: usize = 10;

/// Name, help text and upper bounds of a histogram.
pub(super) type Kind = (&'static str, &'static str, [f64; BUCKETS]);

/// Upper bounds of waiting times, in seconds.
const WAITS: [f64; BUCKETS] = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];

pub(super) const KINDS: [Kind; 5] = [
    (
        "first_frame_seconds",
        "Time from when a subscription could flow to its first frame",
        WAITS,
    ),
    (
        "freeze_seconds",
        "Time from a subscriber asking for a keyframe of what it plays (PLI, FIR) to that keyframe",
        WAITS,
    ),
    (
        "subscriber_loss_ratio",
        "Part of a stream that a subscriber lost, per receiver report, 0 to 1",
        [0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0],
    ),
    (
        "rtt_seconds",
        "Round trip times of subscribers, per receiver report",
        [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0],
    ),
    (
        "estimate_bytes_per_second",
        "What a subscriber's path takes, per receiver report",
        [
            6_250.0,
            12_500.0,
            25_000.0,
            50_000.0,
            100_000.0,
            200_000.0,
            400_000.0,
            800_000.0,
            1_600_000.0,
            3_200_000.0,
        ],
    ),
];

impl Quality {
    /// Adds a measurement to its histogram.
    pub fn record(&mut self, sample: Sample) {
        let (kind, value) = match sample {
            Sample::FirstFrame(time) => (0, time.as_secs_f64()),
            Sample::Freeze(time) => (1, time.as_secs_f64()),
            Sample::Loss(part) => (2, part),
            Sample::Rtt(time) => (3, time.as_secs_f64()),
            Sample::Estimate(rate) => (4, rate),
        };
        let (_, _, bounds) = &KINDS[kind];
        let buckets = &mut self.0[kind];
        buckets.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        buckets.sum += value;
    }
}
