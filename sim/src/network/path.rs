//! State of one direction between two hosts: the bottleneck, the burst of losses, the order of arrivals.

use std::time::Duration;

use super::conditions::{Conditions, Rate};
use super::counts::Counts;
use super::datagram::Direction;
use crate::clock::Time;
use crate::rng::{Rng, Seed};

/// Bytes of the headers of IPv4 and UDP, which the bottleneck carries too.
const HEADER_BYTES: usize = 28;

/// State of one direction between two hosts.
#[derive(Debug)]
pub(super) struct Path {
    rng: Rng,
    in_burst: bool,
    /// Time when the bottleneck has sent everything that waits.
    free_at: Time,
    /// Latest arrival of a datagram that keeps the order.
    last_arrival: Time,
    /// Number of datagrams that passed.
    passed: u64,
    /// Highest number that arrived.
    highest_arrived: u64,
}

/// Arrival of one datagram.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Number of the datagram on its path, from 1.
    pub(super) number: u64,
    /// Time when the datagram arrives.
    pub(super) at: Time,
    /// Time when a second copy arrives.
    pub(super) again_at: Option<Time>,
}

impl Path {
    pub(super) fn new(seed: Seed, direction: Direction) -> Self {
        let Direction { from, to } = direction;
        Self {
            rng: seed.stream(&format!("path {from} {to}")),
            in_burst: false,
            free_at: Time::ZERO,
            last_arrival: Time::ZERO,
            passed: 0,
            highest_arrived: 0,
        }
    }

    /// Arrival of a datagram with `length` bytes; `None` if it is dropped.
    pub(super) fn arrival(
        &mut self,
        conditions: &Conditions,
        length: usize,
        now: Time,
        counts: &mut Counts,
    ) -> Option<Arrival> {
        if self.is_in_burst(conditions) {
            counts.lost_in_bursts += 1;
            return None;
        }
        if self.rng.happens(conditions.loss) {
            counts.lost += 1;
            return None;
        }
        let Some(left_at) = self.leaves(conditions.rate, length, now) else {
            counts.overflowed += 1;
            return None;
        };
        self.passed += 1;
        let at = left_at + conditions.delay + self.rng.time_up_to(conditions.jitter);
        let at = if self.rng.happens(conditions.reordered) {
            at + self.rng.time_up_to(conditions.late)
        } else {
            self.last_arrival = self.last_arrival.max(at);
            self.last_arrival
        };
        let again_at = self.rng.happens(conditions.duplicated).then(|| {
            counts.duplicated += 1;
            at + self.rng.time_up_to(conditions.late)
        });
        Some(Arrival {
            number: self.passed,
            at,
            again_at,
        })
    }

    /// Records an arrival. True if a later datagram arrived before.
    pub(super) fn is_overtaken(&mut self, number: u64) -> bool {
        let is_overtaken = number < self.highest_arrived;
        self.highest_arrived = self.highest_arrived.max(number);
        is_overtaken
    }

    /// True if the next datagram is lost in a burst.
    fn is_in_burst(&mut self, conditions: &Conditions) -> bool {
        self.in_burst = conditions.bursts.is_some_and(|bursts| match self.in_burst {
            true => !self.rng.happens(bursts.ends),
            false => self.rng.happens(bursts.begins),
        });
        self.in_burst
    }

    /// Time when the bottleneck has sent a datagram of `length` bytes; `None` if its queue is full.
    fn leaves(&mut self, rate: Option<Rate>, length: usize, now: Time) -> Option<Time> {
        let Some(Rate {
            bits_per_s,
            queue_bytes,
        }) = rate
        else {
            return Some(now);
        };
        let waits = self.free_at.since(now);
        let waiting_bits = waits.as_micros() * u128::from(bits_per_s) / 1_000_000;
        if waiting_bits > u128::from(queue_bytes) * 8 {
            return None;
        }
        let bits = (length + HEADER_BYTES) as u64 * 8;
        let takes = Duration::from_nanos(bits * 1_000_000_000 / bits_per_s.max(1));
        self.free_at = self.free_at.max(now) + takes;
        Some(self.free_at)
    }
}
