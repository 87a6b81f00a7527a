//! The two clocks that the server gets: monotonic time and wall clock.

use std::time::Instant;

/// The same moment on two clocks: monotonic time for lifetimes, wall clock for credentials and nonces.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic time, for all lifetimes.
    pub instant: Instant,
    /// Wall clock, seconds since 1970.
    pub unix_s: u64,
}
