//! Properties of one direction between two hosts.

use std::time::Duration;

use crate::rng::Chance;

/// Properties of one direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Time from the end of the bottleneck to the receiver.
    pub delay: Duration,
    /// Maximum additional delay; datagrams still arrive in order.
    pub jitter: Duration,
    /// Loss of single datagrams.
    pub loss: Chance,
    /// Loss of several datagrams in a row.
    pub bursts: Option<Bursts>,
    /// Share of datagrams that later ones may overtake.
    pub reordered: Chance,
    /// Maximum additional delay of a datagram that may be overtaken, and of a second copy.
    pub late: Duration,
    /// Share of datagrams that arrive twice.
    pub duplicated: Chance,
    /// The bottleneck; `None`: no limit.
    pub rate: Option<Rate>,
}

/// Losses in a row: the two states of a Gilbert model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// Chance that a burst begins with a datagram.
    pub begins: Chance,
    /// Chance that a burst ends before a datagram.
    pub ends: Chance,
}

/// A bottleneck with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits that pass in a second, headers of IP and UDP included; at least 1.
    pub bits_per_s: u64,
    /// Bytes that may wait; a datagram that finds more is dropped.
    pub queue_bytes: u64,
}

impl Conditions {
    /// A path that delivers everything after `delay`.
    pub const fn steady(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: Chance::NEVER,
            bursts: None,
            reordered: Chance::NEVER,
            late: Duration::ZERO,
            duplicated: Chance::NEVER,
            rate: None,
        }
    }
}
