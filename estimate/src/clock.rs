//! Two clocks: ours, in microseconds since the start, and the receiver's, which wraps and may jump.

use std::time::{Duration, Instant};

use spillway_wire::rtcp::REFERENCE_US;

/// If the difference of the clocks changes by more than this between two feedback messages, the receiver's clock has
/// jumped.
const JUMP_US: i64 = 10_000_000;

/// Our clock, in microseconds since the start.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
}

/// The receiver's clock, extended so that it does not wrap. Its zero has no meaning.
#[derive(Debug, Default)]
pub(super) struct ReceiverClock {
    last: Option<Reading>,
}

/// The reference time of one feedback message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// The reference time as received, 24 bits.
    reference: u32,
    pub(super) at_us: i64,
    heard_us: i64,
    /// True if the clock jumped: earlier times cannot be compared with this one.
    pub(super) jumped: bool,
}

impl Clock {
    pub(super) fn new(start: Instant) -> Self {
        Self { start }
    }

    pub(super) fn us(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(i64::MAX / 4)
    }

    pub(super) fn instant(&self, at_us: i64) -> Instant {
        self.start + Duration::from_micros(at_us.max(0) as u64)
    }
}

impl ReceiverClock {
    /// Extended time of `reference`, received at `now_us`. Does not change the clock.
    pub(super) fn read(&self, reference: u32, now_us: i64) -> Reading {
        let mut reading = Reading {
            reference,
            at_us: now_us,
            heard_us: now_us,
            jumped: false,
        };
        if let Some(last) = self.last {
            // The shorter way around 24 bits.
            let ticks = (reference.wrapping_sub(last.reference) << 8) as i32 >> 8;
            let passed_us = i64::from(ticks) * REFERENCE_US;
            let heard_us = now_us - last.heard_us;
            reading.jumped = (passed_us - heard_us).abs() > JUMP_US;
            reading.at_us = last.at_us + if reading.jumped { heard_us } else { passed_us };
        }
        reading
    }

    /// Keeps `reading` as the latest one.
    pub(super) fn remember(&mut self, reading: Reading) {
        self.last = Some(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_s_clock_wraps_goes_back_a_little_and_jumps() {
        let mut clock = ReceiverClock::default();
        let mut read = |reference: u32, now_us| {
            let reading = clock.read(reference & 0xff_ffff, now_us);
            clock.remember(reading);
            (reading.at_us, reading.jumped)
        };
        assert_eq!(read(0xff_fffe, 500), (500, false));
        assert_eq!(read(0x100_0001, 192_500), (192_500, false));
        assert_eq!(read(0xff_ffff, 200_000), (64_500, false));
        assert_eq!(read(0x7f_0000, 264_000), (128_500, true));
        assert_eq!(read(0x7f_0001, 328_000), (192_500, false));
    }
}
