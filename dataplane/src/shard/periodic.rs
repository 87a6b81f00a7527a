//! Times of a shard's measurements and reports.

use std::time::Instant;

use crate::key::TrackKey;

/// Times of periodic work, and pending reports.
pub(crate) struct Periodic {
    pub(crate) next_tick: Instant,
    pub(crate) next_levels: Instant,
    pub(crate) next_report: Instant,
    /// Tracks published here that had packets since the last measurement.
    pub(crate) active: Vec<TrackKey>,
    pub(crate) levels_were_silent: bool,
    /// True when an event happened that no report to the control thread contains yet.
    pub(crate) has_unreported_events: bool,
}

impl Periodic {
    /// All periodic work is due at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next_tick: now,
            next_levels: now,
            next_report: now,
            active: Vec::new(),
            levels_were_silent: true,
            has_unreported_events: true,
        }
    }
}
