//! The only place that reads the system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Current time of the monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock in seconds since 1970, for timestamps outside of this process.
pub fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
