//! Epochs of a publisher's sequence numbers: within one epoch, sequence numbers and timestamps of a layer are
//! continuous.
//!
//! A new SSRC (RFC 3550 sections 5.1 and 8.2) starts a new epoch. So does a step that receivers of our SSRC could not
//! follow: a step of 2^15 sequence numbers breaks their rollover counters (RFC 3711 section 3.3.1), a step of 2^31
//! timestamp ticks looks like a step back. Outgoing numbers stay continuous from one epoch to the next.

use std::time::{Duration, Instant};

/// State of the sequence numbers of one layer.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    epoch: u32,
    current: Option<Source>,
    /// SSRCs of earlier epochs, the latest last.
    past: Vec<Past>,
}

/// SSRC and packet indices of the current epoch.
#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// Lowest packet index of the epoch.
    floor: u64,
    /// Highest packet index received.
    highest: u64,
    /// Arrival time of the packet with the highest index.
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Past {
    ssrc: u32,
    highest: u64,
}

/// Maximum gap of sequence numbers within one epoch (RFC 3550 appendix A.1: MAX_DROPOUT).
const MAX_GAP: u64 = 3_000;
/// After a pause of this length timestamps may have wrapped: 2^31 ticks of video are 6.6 hours.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);
/// A layer that was silent for this long may continue with an earlier SSRC.
const RETURN_AFTER: Duration = Duration::from_millis(500);
/// Number of earlier SSRCs that are remembered.
const MAX_PAST: usize = 8;

impl Numbering {
    /// The epoch of a packet with `ssrc` and packet index `index` that arrived at `now`; `None` if it is older than the
    /// current epoch.
    pub(super) fn epoch(&mut self, ssrc: u32, index: u64, now: Instant) -> Option<u32> {
        let Some(current) = &mut self.current else {
            self.current = Some(Source::starting(ssrc, 0, index, now));
            return Some(self.epoch);
        };
        if current.ssrc != ssrc {
            return self.other(ssrc, index, now);
        }
        if index <= current.highest {
            return (index >= current.floor).then_some(self.epoch);
        }
        let is_long = index - current.highest > MAX_GAP
            || now.saturating_duration_since(current.at) > MAX_PAUSE;
        if is_long {
            let floor = current.highest + 1;
            return Some(self.begin(Source::starting(ssrc, floor, index, now)));
        }
        (current.highest, current.at) = (index, now);
        Some(self.epoch)
    }

    /// The SSRC of the current epoch.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.current.map(|current| current.ssrc)
    }

    fn other(&mut self, ssrc: u32, index: u64, now: Instant) -> Option<u32> {
        let known = self.past.iter().find(|past| past.ssrc == ssrc).copied();
        let mut floor = 0;
        if let Some(past) = known {
            let is_silent = self
                .current
                .is_some_and(|current| now.saturating_duration_since(current.at) >= RETURN_AFTER);
            if index <= past.highest || !is_silent {
                return None;
            }
            floor = past.highest + 1;
        }
        Some(self.begin(Source::starting(ssrc, floor, index, now)))
    }

    fn begin(&mut self, source: Source) -> u32 {
        if let Some(Source { ssrc, highest, .. }) = self.current
            && ssrc != source.ssrc
        {
            if self.past.len() == MAX_PAST {
                self.past.remove(0);
            }
            self.past.push(Past { ssrc, highest });
        }
        self.past.retain(|past| past.ssrc != source.ssrc);
        self.current = Some(source);
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }
}

impl Source {
    fn starting(ssrc: u32, floor: u64, index: u64, at: Instant) -> Self {
        Self {
            ssrc,
            floor,
            highest: index,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (SSRC, packet index, milliseconds, epoch)
    fn check(story: &[(u32, u64, u64, Option<u32>)]) {
        let start = Instant::now();
        let mut numbering = Numbering::default();
        for (ssrc, index, ms, expected) in story {
            let now = start + Duration::from_millis(*ms);
            let epoch = numbering.epoch(*ssrc, *index, now);
            assert_eq!(epoch, *expected, "ssrc {ssrc} index {index} at {ms} ms");
        }
    }

    #[test]
    fn a_new_ssrc_begins_an_epoch_whatever_its_numbers() {
        check(&[
            (1, 30_000, 0, Some(0)),
            (1, 30_001, 20, Some(0)),
            (2, 18_000, 40, Some(1)),
            (2, 17_999, 41, Some(1)), // sent before it, arrived after it
            (1, 30_002, 42, None),    // late
            (3, 80_000, 60, Some(2)),
            (2, 18_001, 61, None),
        ]);
    }

    #[test]
    fn an_ssrc_of_before_may_come_back_when_the_other_is_silent() {
        check(&[
            (1, 100, 0, Some(0)),
            (2, 7, 100, Some(1)),
            (1, 101, 150, None),
            (1, 100, 900, None), // repeated
            (1, 102, 900, Some(2)),
            (1, 101, 901, Some(2)),
            (2, 8, 901, None),
        ]);
    }

    #[test]
    fn steps_that_receivers_could_not_follow_begin_an_epoch() {
        let hours = 7 * 3_600_000;
        check(&[
            (1, 10, 0, Some(0)),
            (1, 10 + MAX_GAP, 10, Some(0)),
            (1, 55_000, 20, Some(1)),
            (1, 10 + MAX_GAP + 1, 21, Some(1)),
            (1, 10 + MAX_GAP, 22, None),
            (1, 55_001, hours, Some(2)),
            (1, 55_000, hours, None),
        ]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut numbering = Numbering::default();
        let now = Instant::now();
        for ssrc in 0..1_000 {
            numbering.epoch(ssrc, 1, now);
        }
        assert_eq!(numbering.past.len(), MAX_PAST);
        assert_eq!(numbering.ssrc(), Some(999));
    }
}
