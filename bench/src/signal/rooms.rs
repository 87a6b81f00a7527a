//! Assignment of participants to rooms: optionally one large room, then rooms of one size.

use std::ops::Range;

/// Size of a room, relative to others of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first room, which may be larger.
    Large,
    /// One of the rooms of equal size.
    Usual,
}

/// Participants and rooms by their numbers: the large room is the first, and its participants are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rooms {
    /// Participants of the large room; 0 without a large room.
    large: usize,
    /// Participants of all other rooms together.
    others: usize,
    size: usize,
}

impl Rooms {
    /// Rooms of `size` for `participants`; the last one gets the rest.
    pub fn of_size(size: usize, participants: usize) -> Self {
        Self {
            large: 0,
            others: participants,
            size,
        }
    }

    /// One room of `large` participants, and `count` of `size` each.
    pub fn beside(large: usize, count: usize, size: usize) -> Self {
        Self {
            large,
            others: count * size,
            size,
        }
    }

    /// Participants of all rooms.
    pub fn participants(&self) -> usize {
        self.large + self.others
    }

    /// Number of rooms in the run.
    pub fn count(&self) -> usize {
        usize::from(self.large > 0) + self.others.div_ceil(self.size)
    }

    /// The room that a participant is in.
    pub fn of(&self, participant: usize) -> usize {
        match participant.checked_sub(self.large) {
            Some(number) => usize::from(self.large > 0) + number / self.size,
            None => 0,
        }
    }

    /// The participants of a room.
    pub fn members(&self, room: usize) -> Range<usize> {
        let number = match self.kind(room) {
            Kind::Large => return 0..self.large,
            Kind::Usual => room - usize::from(self.large > 0),
        };
        let start = self.large + number * self.size;
        start..(start + self.size).min(self.participants())
    }

    /// The kind of a room.
    pub fn kind(&self, room: usize) -> Kind {
        match room {
            0 if self.large > 0 => Kind::Large,
            _ => Kind::Usual,
        }
    }

    /// The participants of all rooms of a kind.
    pub fn of_kind(&self, kind: Kind) -> Range<usize> {
        match kind {
            Kind::Large => 0..self.large,
            Kind::Usual => self.large..self.participants(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_participant_is_a_member_of_its_room() {
        for rooms in [
            Rooms::of_size(500, 2_000),
            Rooms::of_size(500, 1_200),
            Rooms::beside(10_000, 4, 500),
        ] {
            let mut seen = 0;
            for room in 0..rooms.count() {
                let members = rooms.members(room);
                assert_eq!(members.start, seen, "{rooms:?}");
                assert!(members.clone().all(|member| rooms.of(member) == room));
                seen = members.end;
            }
            assert_eq!(seen, rooms.participants(), "{rooms:?}");
        }
    }

    #[test]
    fn the_large_room_is_the_first() {
        let rooms = Rooms::beside(1_000, 2, 10);
        assert_eq!((rooms.kind(0), rooms.members(0)), (Kind::Large, 0..1_000));
        assert_eq!(
            (rooms.kind(1), rooms.members(1)),
            (Kind::Usual, 1_000..1_010)
        );
        assert_eq!(rooms.of_kind(Kind::Usual), 1_000..1_020);
        assert_eq!(Rooms::of_size(10, 20).kind(0), Kind::Usual);
    }
}
