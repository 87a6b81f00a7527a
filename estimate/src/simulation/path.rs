//! The simulated network between sender and receiver.

/// Properties of the simulated network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    pub(super) bps: i64,
    pub(super) queue_us: i64,
    pub(super) delay_us: i64,
    pub(super) jitter_us: i64,
    pub(super) loss_percent: u8,
    pub(super) feedback_us: i64,
    pub(super) feedback_loss_percent: u8,
    /// Interval at which the receiver wakes up and stamps what has arrived, in µs; 0: immediately.
    pub(super) late_us: i64,
}

pub(super) const PATH: Path = Path {
    bps: 100_000_000,
    queue_us: 300_000,
    delay_us: 25_000,
    jitter_us: 0,
    loss_percent: 0,
    feedback_us: 75_000,
    feedback_loss_percent: 0,
    late_us: 0,
};
