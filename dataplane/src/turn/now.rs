//! The two clocks that the server gets: monotonic time and wall clock.

use std::time::Instant;

/// Both times: the one that never jumps, and the one that credentials and nonces are dated with.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic time, for all lifetimes.
    pub instant: Instant,
    /// Wall clock, seconds since 1970.
    pub unix_s: u64,
}
