//! Routes of node events: which room a participant, a track or a session belongs to.

use std::collections::{BTreeMap, HashMap};

use crate::fleet::HeldSession;
use crate::ids::{NodeId, ParticipantId, RoomName, TrackId};
use crate::room::RoomConfig;

/// The room of each participant and track of this server.
#[derive(Debug, Default)]
pub struct Routes {
    room_by_participant: HashMap<ParticipantId, RoomName>,
    room_by_track: HashMap<TrackId, RoomName>,
    /// Rooms in the last report of each shard. They get the next report even if it has no levels
    /// for them.
    rooms_by_shard: HashMap<(NodeId, u32), Vec<RoomName>>,
}

impl Routes {
    /// Routes events of a participant's sessions to `room`, or stops that.
    pub fn route_events(&mut self, participant: ParticipantId, room: &RoomName, here: bool) {
        if here {
            self.room_by_participant.insert(participant, room.clone());
        } else {
            self.room_by_participant.remove(&participant);
        }
    }

    /// Routes the levels of a track to `room`, or stops that.
    pub fn route_levels(&mut self, track: TrackId, room: &RoomName, here: bool) {
        if here {
            self.room_by_track.insert(track, room.clone());
        } else {
            self.room_by_track.remove(&track);
        }
    }

    /// The room of a participant.
    pub fn room_of(&self, participant: &ParticipantId) -> Option<RoomName> {
        self.room_by_participant.get(participant).cloned()
    }

    /// Divides a shard's report by room. Rooms of the last report are included, if only with an
    /// empty list.
    pub fn levels_by_room(
        &mut self,
        shard: (NodeId, u32),
        levels: Vec<(TrackId, u32)>,
    ) -> BTreeMap<RoomName, Vec<(TrackId, u32)>> {
        let last = self.rooms_by_shard.remove(&shard).unwrap_or_default();
        let mut by_room: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (track, dbov) in levels {
            if let Some(room) = self.room_by_track.get(&track) {
                let of_room: &mut Vec<_> = by_room.entry(room.clone()).or_default();
                of_room.push((track, dbov));
            }
        }
        let rooms: Vec<_> = by_room.keys().cloned().collect();
        if !rooms.is_empty() {
            self.rooms_by_shard.insert(shard, rooms);
        }
        for room in last {
            by_room.entry(room).or_default();
        }
        by_room
    }
}

/// Divides the sessions of a node by room. Each of the open `rooms` of this server is included. A room that is not open is
/// included if it has a session of this server, or if there is no other server.
pub fn sessions_by_room(
    rooms: Vec<RoomName>,
    sessions: Vec<HeldSession>,
    config: &RoomConfig,
) -> BTreeMap<RoomName, Vec<HeldSession>> {
    let mut by_room: BTreeMap<RoomName, Vec<HeldSession>> = BTreeMap::new();
    for room in rooms {
        by_room.insert(room, Vec::new());
    }
    for held in sessions {
        let Some(annotation) = &held.annotation else {
            tracing::warn!(session = %held.session, "ignoring a session of another control plane");
            continue;
        };
        let room = annotation.room.clone();
        match by_room.get_mut(&room) {
            Some(sessions) => sessions.push(held),
            // Session of another server.
            None if config.is_shared && held.owner != config.owner => {}
            None => drop(by_room.insert(room, vec![held])),
        }
    }
    by_room
}
