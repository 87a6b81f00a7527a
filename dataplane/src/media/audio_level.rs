//! Smoothed audio level of a track, from the levels in its packets (RFC 6464).

use std::time::{Duration, Instant};

/// Smoothed audio level of a track, and the time of its latest packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct AudioLevel {
    loudness: f32,
    last_packet: Option<Instant>,
}

/// Level of silence, in -dBov.
pub const SILENT_DBOV: u8 = 127;
/// Levels louder than this, in -dBov, count as speech. A quiet room has 60 to 90.
const AUDIBLE_DBOV: u8 = 55;
/// Weight of the newest packet in the average. With 50 packets per second, half of the average is at most 90 ms old.
const NEWEST: f32 = 0.15;
/// A track without packets for this long (DTX) counts as silent.
const QUIET_AFTER: Duration = Duration::from_millis(500);

impl AudioLevel {
    /// Adds the level of a packet that arrived at `now`. `voice` is the sender's voice activity flag.
    pub fn record(&mut self, dbov: u8, voice: bool, now: Instant) {
        let loudness = if voice {
            f32::from(SILENT_DBOV - dbov.min(SILENT_DBOV))
        } else {
            0.0
        };
        self.loudness += (loudness - self.loudness) * NEWEST;
        self.last_packet = Some(now);
    }

    /// The level in -dBov, if it is loud enough for speech.
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
        level.record(10, true, at(0));
        assert_eq!(level.audible(at(0)), None, "a click");
        for packet in 1..15 {
            level.record(20, true, at(packet));
        }
        assert!(level.audible(at(15)).is_some(), "300 ms of speech");
        assert_eq!(level.audible(at(60)), None, "silence without packets");
        for packet in 60..90 {
            level.record(20, false, at(packet));
        }
        assert_eq!(level.audible(at(90)), None, "loud, but no voice");
    }
}
