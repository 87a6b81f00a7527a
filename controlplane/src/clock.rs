//! The only file that reads clocks. State machines get the time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic clock, for timers.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock, seconds since 1970, for tokens.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
