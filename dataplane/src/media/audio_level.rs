//! Smoothed audio level of a track, from the levels in its packets (RFC 6464).

use std::time::{Duration, Instant};

/// A smoothed audio level (RFC 6464).
#[derive(Debug, Clone, Copy, Default)]
pub struct AudioLevel {
    loudness: f32,
    last_packet: Option<Instant>,
}

/// The level of silence, in -dBov.
pub const SILENT_DBOV: u8 = 127;
/// A level louder than this is speech; a quiet room has 60 to 90.
const AUDIBLE_DBOV: u8 = 55;
/// Weight of the newest of 50 packets a second: half of the level is 90 ms old at most.
const NEWEST: f32 = 0.15;
/// Without packets for this long (DTX) a track is silent.
const QUIET_AFTER: Duration = Duration::from_millis(500);

impl AudioLevel {
    /// A packet came at `now` with that level; `voice` is the sender's own judgement.
    pub fn heard(&mut self, dbov: u8, voice: bool, now: Instant) {
        let loudness = if voice {
            f32::from(SILENT_DBOV - dbov.min(SILENT_DBOV))
        } else {
            0.0
        };
        self.loudness += (loudness - self.loudness) * NEWEST;
        self.last_packet = Some(now);
    }

    /// The level, if it is above the threshold of speech.
    pub fn audible(&self, now: Instant) -> Option<u8> {
        let fresh = self
            .last_packet
            .is_some_and(|at| now.duration_since(at) < QUIET_AFTER);
        let dbov = SILENT_DBOV - self.loudness.round() as u8;
        (fresh && dbov <= AUDIBLE_DBOV).then_some(dbov)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_heard_soon_and_a_click_is_not() {
        let start = Instant::now();
        let at = |packet: u64| start + Duration::from_millis(packet * 20);
        let mut level = AudioLevel::default();
        level.heard(10, true, at(0));
        assert_eq!(level.audible(at(0)), None, "a click");
        for packet in 1..15 {
            level.heard(20, true, at(packet));
        }
        assert!(level.audible(at(15)).is_some(), "300 ms of speech");
        assert_eq!(level.audible(at(60)), None, "silence without packets");
        for packet in 60..90 {
            level.heard(20, false, at(packet));
        }
        assert_eq!(level.audible(at(90)), None, "loud, but no voice");
    }
}
