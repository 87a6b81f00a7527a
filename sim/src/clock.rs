//! Virtual time. The only file of the simulator that reads a clock, once, for the start of the monotonic time.
//!
//! Code of the planes gets an [`Instant`], which cannot be made from a number. So all simulations of a process share one
//! start, and an instant is the start plus the virtual time.

use std::cell::Cell;
use std::fmt;
use std::ops::{Add, AddAssign};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Time since the start of the simulation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(Duration);

/// The clocks of a simulation.
#[derive(Debug, Default)]
pub struct Clock {
    now: Time,
}

/// Wall clock of all hosts at the start: 1 January 2030, in seconds since 1970.
pub const START_UNIX_S: u64 = 1_893_456_000;

/// Time from the real start of the process to the virtual start. Code may subtract up to this from an instant, also on
/// a host that has just booted.
const HEAD_START: Duration = Duration::from_secs(3_600);

thread_local! {
    static THREAD_NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
}

/// Monotonic clock of the run on this thread, for code that gets its clock as a function.
pub fn thread_now() -> Instant {
    THREAD_NOW.get().instant()
}

static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() + HEAD_START);

impl Time {
    /// Start of the simulation.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// The time `ms` milliseconds after the start.
    pub const fn from_ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The same time on the monotonic clock.
    pub fn instant(self) -> Instant {
        *START + self.0
    }

    /// The virtual time of `instant`; the start for earlier instants.
    pub fn of(instant: Instant) -> Self {
        Self(instant.saturating_duration_since(*START))
    }
}

impl Clock {
    /// Time of the present event.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Moves the clock forward to `time`.
    ///
    /// # Panics
    ///
    /// Panics when `time` has passed: events must be taken in order.
    pub fn advance(&mut self, time: Time) {
        assert!(time >= self.now, "{time} is before {}", self.now);
        self.now = time;
        THREAD_NOW.set(time);
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, time: Duration) -> Time {
        Time(self.0 + time)
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.as_secs(), self.0.subsec_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_virtual_times_convert_both_ways() {
        let time = Time::from_ms(1_500) + Duration::from_nanos(7);
        assert_eq!(Time::of(time.instant()), time);
        assert_eq!(time.instant() - Time::ZERO.instant(), time.since_start());
        let before = Time::ZERO.instant() - HEAD_START;
        assert_eq!(Time::of(before), Time::ZERO);
        assert_eq!(time.to_string(), "1.500000s");
    }

    #[test]
    #[should_panic(expected = "is before")]
    fn time_does_not_go_back() {
        let mut clock = Clock::default();
        clock.advance(Time::from_ms(2));
        clock.advance(Time::from_ms(1));
    }
}
