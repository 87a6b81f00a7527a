//! Lost, duplicated and reordered packets of one RTP stream, by sequence number.

/// Counts packets and losses of one SSRC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Highest extended sequence number; none before the first packet.
    highest: Option<u64>,
    /// Bitmap of received numbers; bit n is `highest - n`.
    seen: u128,
    /// The highest number when counting started.
    start: u64,
    /// Distinct packets since counting started.
    pub received: u64,
    /// Packets with a number that was received before.
    pub duplicates: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
}

impl Sequence {
    /// Counts packet `number` (16 bits, as in the header).
    pub fn note(&mut self, number: u16) {
        let Some(highest) = self.highest else {
            // Numbers below must exist, so that a packet overtaken by the first one can be counted.
            let first = u64::from(number) + (1 << 16);
            (self.highest, self.start, self.seen) = (Some(first), first - 1, 1);
            self.received = 1;
            return;
        };
        // RFC 3550 appendix A.1: the nearest number with these low bits.
        let ahead = number.wrapping_sub(highest as u16);
        if ahead.cast_signed() > 0 {
            let shift = u32::from(ahead);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = Some(highest + u64::from(ahead));
            self.received += 1;
            return;
        }
        let behind = u32::from(ahead.wrapping_neg());
        let bit = 1_u128.checked_shl(behind).unwrap_or(0);
        if self.seen & bit != 0 {
            self.duplicates += 1;
        } else {
            // A packet older than the bitmap counts as received; remembering more would need too much memory.
            self.seen |= bit;
            self.received += 1;
            self.reordered += 1;
        }
    }

    /// Sets all counters to zero.
    pub fn restart(&mut self) {
        let start = self.highest.unwrap_or(0);
        *self = Self {
            highest: self.highest,
            seen: self.seen,
            start,
            ..Self::default()
        };
    }

    /// Packets missing between received ones.
    pub fn gaps(&self) -> u64 {
        let span = self.highest.map_or(0, |highest| highest - self.start);
        span.saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(numbers: &[u16]) -> Sequence {
        let mut sequence = Sequence::default();
        numbers.iter().for_each(|number| sequence.note(*number));
        sequence
    }

    #[test]
    fn gaps_duplicates_and_late_packets_are_told_apart() {
        let whole = follow(&[65_534, 65_535, 0, 1]);
        assert_eq!((whole.received, whole.gaps()), (4, 0));
        let gap = follow(&[10, 11, 14]);
        assert_eq!((gap.received, gap.gaps()), (3, 2));
        let late = follow(&[10, 12, 11]);
        assert_eq!((late.received, late.gaps(), late.reordered), (3, 0, 1));
        let double = follow(&[10, 11, 11, 10, 12]);
        assert_eq!((double.received, double.duplicates), (3, 2));
        let jump = follow(&[10, 400, 11]);
        assert_eq!((jump.received, jump.gaps(), jump.reordered), (3, 388, 1));
    }

    #[test]
    fn counting_begins_anew_without_forgetting_the_numbers() {
        let mut sequence = follow(&[10, 13]);
        sequence.restart();
        assert_eq!((sequence.received, sequence.gaps()), (0, 0));
        sequence.note(14);
        sequence.note(16);
        sequence.note(13);
        let Sequence {
            received,
            duplicates,
            ..
        } = sequence;
        assert_eq!((received, duplicates, sequence.gaps()), (2, 1, 1));
    }
}
