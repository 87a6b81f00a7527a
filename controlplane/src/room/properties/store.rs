//! The store of a room, and the other server that shares it.

use std::sync::Arc;

use super::world::{World, node_id};
use crate::history::{Change, Entry, Kind, LeaveReason, Participant, RoomEvent, Source, Track};
use crate::ids::{Identity, ParticipantId, SessionId, TrackId};
use crate::store::StoreError;

impl World {
    /// True if another server serves the participant.
    pub(super) fn is_elsewhere(&self, id: &ParticipantId) -> bool {
        self.elsewhere.iter().any(|other| other.participant == *id)
    }

    /// The store answers the first append. It refuses to remove participants that are gone or back.
    pub(super) fn answer_append(&mut self, is_ok: bool) {
        let Some((append, then)) = self.appends.pop_front() else {
            return;
        };
        let participant = append.event.participant().cloned();
        let not_ours = |id: &ParticipantId| Err(StoreError::NotOurs(id.clone()));
        let result = match &append.change {
            _ if !is_ok => Err(StoreError::Unavailable("no answer".to_owned())),
            Change::RemoveOurs(id)
                if self.stored.participant(id).is_none() || self.is_elsewhere(id) =>
            {
                not_ours(id)
            }
            Change::RemoveAbsent(id)
                if self.stored.participant(id).is_none()
                    || self.room.member_by_id.contains_key(id) =>
            {
                not_ours(id)
            }
            change => {
                let put = match change {
                    Change::Put(participant) => Some(participant.clone()),
                    _ => None,
                };
                self.store_event(append.event, append.to);
                if let Some(put) = put.filter(|_| !self.has_store_failed) {
                    assert_eq!(self.stored.participant(&put.participant), Some(&put));
                }
                Ok(self.log.len() as u64)
            }
        };
        self.has_store_failed |= !is_ok;
        self.drain();
        self.room.handle_applied(participant.as_ref());
        self.room.handle_appended(then, result, self.now);
    }

    pub(super) fn store_event(&mut self, event: RoomEvent, to: Option<Vec<Identity>>) {
        let offset = self.log.len() as u64 + 1;
        self.stored.apply(offset, &event);
        let entry = Arc::new(Entry { offset, event, to });
        self.log.push(Arc::clone(&entry));
        self.room.handle_entry(&entry, self.now);
    }

    /// A participant of another server joins, publishes or leaves.
    pub(super) fn other_server(&mut self, number: usize) {
        let name = format!("other{}", number % 3);
        let known = self
            .elsewhere
            .iter()
            .position(|p| p.identity.as_str() == name);
        let event = match known {
            None => {
                let participant = Participant {
                    participant: ParticipantId::random(),
                    identity: name.parse().expect("a name"),
                    name,
                    tracks: Vec::new(),
                    node: node_id(number % 2),
                    generation: Default::default(),
                };
                self.elsewhere.push(participant.clone());
                RoomEvent::ParticipantJoined { participant }
            }
            Some(index) if number.is_multiple_of(2) => {
                let participant = self.elsewhere.remove(index);
                self.close_elsewhere(&participant);
                left(&participant)
            }
            Some(index) => RoomEvent::TrackPublished {
                participant: self.elsewhere[index].participant.clone(),
                track: Track {
                    track: TrackId::random(),
                    kind: Kind::Video,
                    source: Source::Camera,
                    muted: false,
                    layers: Vec::new(),
                    node: self.elsewhere[index].node.clone(),
                },
            },
        };
        self.store_event(event, None);
    }

    /// A client comes back on another server, which serves its participant from now on.
    pub(super) fn taken(&mut self, who: usize) {
        let participant = self.clients[who]
            .known
            .as_ref()
            .map(|known| known.participant.clone());
        let listed = participant.and_then(|id| self.stored.participant(&id).cloned());
        let Some(listed) =
            listed.filter(|listed| self.room.member_by_id.contains_key(&listed.participant))
        else {
            return;
        };
        self.room.handle_taken(&listed.participant);
        self.elsewhere.push(listed);
    }

    /// The other server closes the sessions of its participant.
    pub(super) fn close_elsewhere(&mut self, participant: &Participant) {
        for node in &mut self.nodes {
            let is_other = |id: &SessionId| id.participant != participant.participant;
            node.session_by_id.retain(|id, _| is_other(id));
        }
    }
}

pub(super) fn left(participant: &Participant) -> RoomEvent {
    RoomEvent::ParticipantLeft {
        participant: participant.participant.clone(),
        identity: participant.identity.clone(),
        reason: LeaveReason::Left,
    }
}
