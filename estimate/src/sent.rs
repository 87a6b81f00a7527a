//! Sent packets that await feedback, by transport-wide sequence number.

/// Initial and maximum number of slots of 8 bytes; the maximum is one second at 20 Mb/s.
const FIRST_SLOTS: usize = 256;
const MAX_SLOTS: usize = 2_048;
/// A packet without feedback for this long is overwritten if its slot is needed.
const PATIENCE_US: u32 = 1_000_000;

/// Sent packets by sequence number; the newest one overwrites the oldest.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Slots; their number is a power of two, or zero before the first packet.
    slots: Vec<Slot>,
    /// Number of packets sent so far; its lower 16 bits are the next sequence number.
    next: u64,
    /// Number of the first packet that no feedback has covered yet.
    reported: u64,
}

/// A sent packet that feedback has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sent_us: i64,
    pub(super) bytes: u16,
    /// The probe run that the packet was part of; 0 for none.
    pub(super) cluster: u8,
    /// True if an earlier feedback reported the packet as lost.
    pub(super) was_lost: bool,
    /// True if [`Sent::skip_to`] has counted the packet.
    pub(super) was_skipped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Lower bits of the send time; valid for 71 minutes.
    sent_us: u32,
    bytes: u16,
    cluster: u8,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Flying,
    /// The feedback that covered the packet was lost.
    Skipped,
    Arrived,
    Lost,
}

const _: () = assert!(size_of::<Slot>() == 8);

impl Sent {
    /// Records a sent packet. Returns its sequence number.
    pub(super) fn push(&mut self, bytes: usize, now_us: i64, cluster: u8) -> u16 {
        let now_us = now_us as u32;
        let full = match self.slots.get(self.index(self.next)) {
            Some(oldest) => {
                oldest.fate == Fate::Flying
                    && self.next >= self.slots.len() as u64
                    && now_us.wrapping_sub(oldest.sent_us) < PATIENCE_US
            }
            None => true,
        };
        if full && self.slots.len() < MAX_SLOTS {
            self.grow();
        }
        let index = self.index(self.next);
        self.slots[index] = Slot {
            sent_us: now_us,
            bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
            cluster,
            fate: Fate::Flying,
        };
        self.next += 1;
        (self.next - 1) as u16
    }

    /// True before the first packet.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// The packet `seq`, if this is the first report of its arrival.
    pub(super) fn arrived(&mut self, seq: u16, now_us: i64) -> Option<Packet> {
        let slot = self.slot(seq)?;
        let was = std::mem::replace(&mut slot.fate, Fate::Arrived);
        (was != Fate::Arrived).then(|| slot.packet(now_us, was))
    }

    /// The packet `seq`, if this is the first report about it.
    pub(super) fn lost(&mut self, seq: u16, now_us: i64) -> Option<Packet> {
        let slot = self.slot(seq)?;
        let was = slot.fate;
        if !matches!(was, Fate::Flying | Fate::Skipped) {
            return None;
        }
        slot.fate = Fate::Lost;
        Some(slot.packet(now_us, was))
    }

    /// How many of the `count` packets from `base_seq` on are remembered; `None` if one of them was never sent.
    pub(super) fn remembered(&self, base_seq: u16, count: u16) -> Option<u32> {
        let Some(last) = count.checked_sub(1) else {
            return Some(0);
        };
        let newest = self.next.checked_sub(1)?;
        // Numbers wrap: a number more than half the range behind the newest one is ahead of it.
        let age = (newest as u16).wrapping_sub(base_seq.wrapping_add(last));
        let oldest_age = u64::from(age) + u64::from(last);
        if age > u16::MAX / 2 || oldest_age > newest {
            return None;
        }
        let slots = self.slots.len() as u64;
        let remembered = (oldest_age + 1).min(slots).saturating_sub(u64::from(age));
        Some(remembered as u32)
    }

    /// The remembered packets, which are the latest ones, among `count` packets from `seq` on; see
    /// [`remembered`](Self::remembered).
    pub(super) fn remembered_of(&self, seq: u16, count: u16) -> impl Iterator<Item = u16> + use<> {
        let remembered = self.remembered(seq, count).unwrap_or(0) as u16;
        (count - remembered..count).map(move |offset| seq.wrapping_add(offset))
    }

    /// A feedback starts at `seq`. Returns the bytes of packets that a lost feedback covered; receivers report all
    /// packets.
    pub(super) fn skip_to(&mut self, seq: u16) -> u64 {
        let Some(number) = self.number(seq) else {
            return 0;
        };
        let mut bytes = 0;
        let oldest = self.next.saturating_sub(self.slots.len() as u64);
        for skipped in self.reported.max(oldest)..number {
            let index = self.index(skipped);
            let slot = &mut self.slots[index];
            if slot.fate == Fate::Flying {
                slot.fate = Fate::Skipped;
                bytes += u64::from(slot.bytes);
            }
        }
        bytes
    }

    /// A feedback covered all packets before `seq`.
    pub(super) fn reported_to(&mut self, seq: u16) {
        if let Some(last) = self.number(seq.wrapping_sub(1)) {
            self.reported = self.reported.max(last + 1);
        }
    }

    /// The slot of `seq`; `None` if the packet was never sent, or is not remembered.
    fn slot(&mut self, seq: u16) -> Option<&mut Slot> {
        let index = self.index(self.number(seq)?);
        Some(&mut self.slots[index])
    }

    fn number(&self, seq: u16) -> Option<u64> {
        let newest = self.next.checked_sub(1)?;
        let age = u64::from((newest as u16).wrapping_sub(seq));
        let number = newest.checked_sub(age)?;
        (age < self.slots.len() as u64).then_some(number)
    }

    fn index(&self, number: u64) -> usize {
        number as usize & self.slots.len().wrapping_sub(1)
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        let vacant = Slot {
            sent_us: 0,
            bytes: 0,
            cluster: 0,
            fate: Fate::Arrived,
        };
        self.slots = vec![vacant; (old.len() * 2).max(FIRST_SLOTS)];
        for number in self.next.saturating_sub(old.len() as u64)..self.next {
            let index = self.index(number);
            self.slots[index] = old[number as usize & (old.len() - 1)];
        }
    }
}

impl Slot {
    fn packet(&self, now_us: i64, was: Fate) -> Packet {
        let age_us = (now_us as u32).wrapping_sub(self.sent_us);
        Packet {
            sent_us: now_us - i64::from(age_us),
            bytes: self.bytes,
            cluster: self.cluster,
            was_lost: was == Fate::Lost,
            was_skipped: was == Fate::Skipped,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_spoken_of_once_and_a_loss_can_be_taken_back() {
        let mut sent = Sent::default();
        assert_eq!(sent.arrived(0, 0), None);
        assert_eq!(sent.push(1_200, 5_000, 7), 0);
        assert_eq!(sent.push(900, 6_000, 0), 1);
        let first = Packet {
            sent_us: 5_000,
            bytes: 1_200,
            cluster: 7,
            was_lost: false,
            was_skipped: false,
        };
        assert_eq!(sent.lost(0, 50_000), Some(first));
        assert_eq!(sent.lost(0, 50_000), None);
        let taken_back = Packet {
            was_lost: true,
            ..first
        };
        assert_eq!(sent.arrived(0, 60_000), Some(taken_back));
        assert_eq!(sent.arrived(0, 60_000), None);
        assert_eq!(sent.lost(0, 60_000), None);
        for never_sent in [2, 3, 2_000, 65_535] {
            assert_eq!(sent.arrived(never_sent, 60_000), None);
            assert_eq!(sent.lost(never_sent, 60_000), None);
        }
    }

    #[test]
    fn what_a_lost_feedback_spoke_of_is_counted_once() {
        let mut sent = Sent::default();
        (0..10).for_each(|_| _ = sent.push(100, 0, 0));
        assert_eq!(sent.skip_to(0), 0);
        assert!(sent.arrived(0, 0).is_some());
        sent.reported_to(1);
        assert_eq!(sent.skip_to(4), 300);
        sent.reported_to(6);
        assert_eq!(sent.skip_to(2), 0, "it comes late");
        assert!(sent.arrived(2, 0).unwrap().was_skipped);
        assert!(sent.lost(3, 0).unwrap().was_skipped);
        sent.reported_to(4);
        assert_eq!(sent.skip_to(6), 0);
        for never_sent in [10, 9_000, 65_535] {
            assert_eq!(sent.skip_to(never_sent), 0);
            sent.reported_to(never_sent.wrapping_add(1));
        }
    }

    #[test]
    fn numbers_wrap_and_only_the_last_ones_are_remembered() {
        let mut sent = Sent::default();
        let mut now_us = 0;
        for number in 0..200_000_u32 {
            now_us += 100;
            let seq = sent.push(number as usize % 1_400, now_us, 0);
            assert_eq!(seq, number as u16);
        }
        assert_eq!(sent.slots.len(), MAX_SLOTS);
        let newest = 199_999_u32;
        for age in [0, 1, 1_000, MAX_SLOTS as u32 - 1] {
            let packet = sent.arrived((newest - age) as u16, now_us).unwrap();
            assert_eq!(u32::from(packet.bytes), (newest - age) % 1_400);
            assert_eq!(packet.sent_us, now_us - i64::from(age) * 100);
        }
        assert_eq!(
            sent.arrived((newest - MAX_SLOTS as u32) as u16, now_us),
            None
        );
        assert_eq!(sent.arrived(newest.wrapping_add(1) as u16, now_us), None);
    }

    #[test]
    fn only_what_was_sent_can_be_reported_and_only_what_is_remembered_counts() {
        let mut sent = Sent::default();
        assert_eq!(sent.remembered(0, 0), Some(0));
        assert_eq!(sent.remembered(0, 1), None, "nothing was sent");
        (0..10).for_each(|_| _ = sent.push(100, 0, 0));
        assert_eq!(sent.remembered(0, 10), Some(10));
        for (base_seq, count) in [
            (0, 11),
            (9, 2),
            (10, 1),
            (65_535, 1),
            (65_535, 2),
            (0, 65_535),
        ] {
            assert_eq!(sent.remembered(base_seq, count), None, "{base_seq} {count}");
        }
        let mut now_us = 0;
        for _ in 10..70_000_u32 {
            now_us += 100;
            sent.push(100, now_us, 0);
        }
        let newest = 69_999_u32 as u16;
        let slots = MAX_SLOTS as u16;
        assert_eq!(sent.remembered(newest, 1), Some(1));
        assert_eq!(sent.remembered(newest.wrapping_sub(slots), 1), Some(0));
        let from = newest.wrapping_sub(8_191);
        assert_eq!(sent.remembered(from, 8_192), Some(u32::from(slots)));
        let of = sent.remembered_of(from, 8_192).collect::<Vec<_>>();
        assert_eq!((of.len(), of.last()), (MAX_SLOTS, Some(&newest)));
        assert_eq!(sent.remembered(from, 8_193), None, "one ahead");
        assert_eq!(
            sent.remembered(newest.wrapping_add(2), 65_535),
            Some(u32::from(slots))
        );
    }

    #[test]
    fn a_slow_stream_stays_small() {
        let mut sent = Sent::default();
        for number in 0..10_000 {
            sent.push(100, number * 20_000, 0);
        }
        assert_eq!(sent.slots.len(), FIRST_SLOTS);
    }
}
