//! The only place that reads a clock; state machines get the time as a value.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, for timers.
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for tokens.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
