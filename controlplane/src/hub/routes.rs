//! Routing of node events to rooms.

use std::collections::HashMap;

use crate::ids::{NodeId, ParticipantId, RoomName, TrackId};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Routes {
    room_by_participant: HashMap<ParticipantId, RoomName>,
    room_by_track: HashMap<TrackId, RoomName>,
    /// Rooms in the last report of levels of each node's shards: they must hear of the silence too.
    heard_by_shard: HashMap<(NodeId, u32), Vec<RoomName>>,
}

impl Routes {
    /// Events of a participant's sessions belong to `room`, or no more.
    pub(super) fn serve(&mut self, participant: ParticipantId, room: &RoomName, here: bool) {
        if here {
            self.room_by_participant.insert(participant, room.clone());
        } else {
            self.room_by_participant.remove(&participant);
        }
    }

    /// Levels of a track belong to `room`, or no more.
    pub(super) fn hear(&mut self, track: TrackId, room: &RoomName, here: bool) {
        if here {
            self.room_by_track.insert(track, room.clone());
        } else {
            self.room_by_track.remove(&track);
        }
    }

    /// The room of a participant.
    pub(super) fn room_of(&self, participant: &ParticipantId) -> Option<RoomName> {
        self.room_by_participant.get(participant).cloned()
    }

    /// A shard's report by room; rooms of its last report are in it, too.
    pub(super) fn levels_by_room(
        &mut self,
        shard: (NodeId, u32),
        levels: Vec<(TrackId, u32)>,
    ) -> HashMap<RoomName, Vec<(TrackId, u32)>> {
        let last = self.heard_by_shard.remove(&shard).unwrap_or_default();
        let mut by_room: HashMap<_, Vec<_>> = HashMap::new();
        for (track, dbov) in levels {
            if let Some(room) = self.room_by_track.get(&track) {
                let of_room: &mut Vec<_> = by_room.entry(room.clone()).or_default();
                of_room.push((track, dbov));
            }
        }
        let heard: Vec<_> = by_room.keys().cloned().collect();
        if !heard.is_empty() {
            self.heard_by_shard.insert(shard, heard);
        }
        for room in last {
            by_room.entry(room).or_default();
        }
        by_room
    }
}
