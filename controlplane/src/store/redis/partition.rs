//! Maps a room to one of 128 partitions, and a partition to a hash slot. All keys of a room are in
//! one slot. The slots of the partitions are spread evenly over all slots of a cluster.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crc16::{State, XMODEM};

use crate::ids::RoomName;

/// Hash slots of a cluster (Redis Cluster specification).
pub(super) const SLOTS: u16 = 16_384;
/// Number of partitions. Each has its own shard channel.
pub(super) const PARTITIONS: u16 = 128;
const SLOTS_EACH: u16 = SLOTS / PARTITIONS;

/// Prefix of all keys and channels. The number changes with the format, so that data of other
/// versions is not read.
pub(super) const NAMESPACE: &str = "spillway:1:";

/// One of [`PARTITIONS`] groups of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition(u16);

/// A hash slot of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub(super) u16);

/// Hash tag of each partition: the smallest number whose slot lies in the partition's share of the
/// slots.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); usize::from(PARTITIONS)];
    let mut missing = tags.len();
    for number in 0_u32.. {
        let tag = number.to_string();
        let tags = &mut tags[usize::from(slot_of(tag.as_bytes()).0 / SLOTS_EACH)];
        if tags.is_empty() {
            *tags = tag;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    tags
});

fn slot_of(tag: &[u8]) -> Slot {
    Slot(State::<XMODEM>::calculate(tag) % SLOTS)
}

impl Partition {
    /// The partition of this room.
    pub(super) fn of(room: &RoomName) -> Self {
        Self(State::<XMODEM>::calculate(room.as_str().as_bytes()) % PARTITIONS)
    }

    /// The hash slot of the partition's keys.
    pub(super) fn slot(self) -> Slot {
        slot_of(self.tag().as_bytes())
    }

    /// The shard channel of the partition's events.
    pub(super) fn channel(self) -> String {
        format!("{NAMESPACE}{{{}}}", self.tag())
    }

    /// The first partition, for commands that need no room.
    pub(super) fn first() -> Self {
        Self(0)
    }

    /// A partition whose slot is in `slots`, if any.
    pub(super) fn within(slots: &RangeInclusive<u16>) -> Option<Self> {
        let mut all = (0..PARTITIONS).map(Self);
        all.find(|partition| slots.contains(&partition.slot().0))
    }

    /// A key and a channel on which `server_id` checks its rights.
    pub(super) fn probe_key(self, server_id: &str) -> String {
        format!("{}:trial:{server_id}", self.channel())
    }

    /// The partition of a channel name; `None` for other names.
    pub(super) fn of_channel(channel: &[u8]) -> Option<Self> {
        let all = (0..PARTITIONS).map(Self);
        let mut all = all.filter(|partition| partition.channel().as_bytes() == channel);
        all.next()
    }

    fn tag(self) -> &'static str {
        &TAGS[usize::from(self.0)]
    }
}

/// Names of a room's keys.
#[derive(Debug, Clone)]
pub(super) struct RoomKeys {
    pub(super) partition: Partition,
    pub(super) slot: Slot,
    /// Hash: epoch, offset, and the last append of each server.
    pub(super) meta: String,
    /// Stream: events; an event's offset is its stream id.
    pub(super) history: String,
    /// Hash: participant as JSON, by id.
    pub(super) participants: String,
    /// Sorted set: participant ids, by the time their presence expires.
    pub(super) presence: String,
    /// Hash: id of the server that serves each participant.
    pub(super) owners: String,
    /// Sorted set: ids of servers that read the room, by the time their lease expires.
    pub(super) readers: String,
}

impl RoomKeys {
    pub(super) fn of(room: &RoomName) -> Self {
        let partition = Partition::of(room);
        let name = room.percent_encoded();
        let key = |what: &str| format!("{}:{name}:{what}", partition.channel());
        Self {
            partition,
            slot: partition.slot(),
            meta: key("meta"),
            history: key("history"),
            participants: key("participants"),
            presence: key("presence"),
            owners: key("owners"),
            readers: key("readers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_spread_evenly_over_the_slots() {
        let mut slots: Vec<_> = (0..PARTITIONS).map(|p| Partition(p).slot().0).collect();
        for (index, slot) in slots.iter().enumerate() {
            assert_eq!(usize::from(slot / SLOTS_EACH), index, "slot {slot}");
        }
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), usize::from(PARTITIONS));
        for masters in [3_u16, 4, 5, 6, 8, 10, 12] {
            let mut share = vec![0_u16; usize::from(masters)];
            for slot in &slots {
                let master = u32::from(*slot) * u32::from(masters) / u32::from(SLOTS);
                share[master as usize] += 1;
            }
            let (least, most) = (share.iter().min().unwrap(), share.iter().max().unwrap());
            assert!(most - least <= 1, "{masters} masters: {share:?}");
        }
    }

    #[test]
    fn all_of_a_room_is_in_one_slot_whatever_its_name() {
        for name in ["a", "room-1.x", "team@home:2", "}{a}", "{", "会議 室"] {
            let room: RoomName = name.parse().unwrap();
            let keys = RoomKeys::of(&room);
            for key in [
                &keys.meta,
                &keys.history,
                &keys.participants,
                &keys.presence,
                &keys.owners,
                &keys.readers,
            ] {
                assert!(key.is_ascii() && !key.contains(' '), "{key}");
                // Cluster specification: the hash tag is between the first brace and the next closing one.
                let from = key.find('{').unwrap() + 1;
                let to = from + key[from..].find('}').unwrap();
                assert_eq!(slot_of(&key.as_bytes()[from..to]), keys.slot, "{key}");
            }
            let channel = keys.partition.channel();
            assert_eq!(
                Partition::of_channel(channel.as_bytes()),
                Some(keys.partition)
            );
        }
        assert_eq!(Partition::of_channel(b"spillway:0:{1}"), None);
    }

    #[test]
    fn rooms_are_spread_over_the_partitions() {
        let mut rooms = vec![0; usize::from(PARTITIONS)];
        for number in 0..PARTITIONS * 100 {
            let room: RoomName = format!("room-{number}").parse().unwrap();
            rooms[usize::from(Partition::of(&room).0)] += 1;
        }
        assert!(
            rooms.iter().all(|count| (50..200).contains(count)),
            "{rooms:?}"
        );
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // Redis Cluster specification, appendix A: CRC16 of "123456789".
        assert_eq!(State::<XMODEM>::calculate(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), Slot(12_182));
    }
}
