//! Usage of the load generator itself: without it the measured limit may be the generator's.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Usage of the load generator itself.
#[derive(Debug)]
pub struct Own {
    /// Time that the thread spent waiting.
    pub waited: Duration,
    /// Delay of publishers against their schedule, in µs.
    pub late_us: Histogram<u64>,
    /// Reasons why participants failed.
    pub lost_sessions: Vec<String>,
}

/// Maximum number of reasons that are kept.
const MAX_REASONS: usize = 5;

impl Own {
    /// Starts measuring the usage of this thread.
    pub fn new() -> Self {
        Self {
            waited: Duration::ZERO,
            late_us: Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order"),
            lost_sessions: Vec::new(),
        }
    }

    /// Records that a participant failed.
    pub fn lost(&mut self, why: String) {
        if self.lost_sessions.len() < MAX_REASONS {
            self.lost_sessions.push(why);
        }
    }

    /// The first reason in parentheses, if there is one.
    pub fn first_reason(&self) -> String {
        let first = self.lost_sessions.first();
        first.map_or_else(String::new, |why| format!(" ({why})"))
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new()
    }
}
