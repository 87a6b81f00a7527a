//! The only place that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, on the monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock, seconds since 1970, for timestamps outside of this process.
pub fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
