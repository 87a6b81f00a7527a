//! The roster: the participants and tracks that result from all events of a room.
//!
//! All servers of a room apply the same events, so they have the same roster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Participant, RoomEvent, Track};
use crate::ids::{Identity, ParticipantId, TrackId};

/// The participants after the events up to `offset`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roster {
    offset: u64,
    participant_by_id: BTreeMap<ParticipantId, Arc<Participant>>,
    owner_by_track: BTreeMap<TrackId, ParticipantId>,
    /// Participant ids by identity. Two ids occur only briefly, if two servers accept the same
    /// identity at the same time.
    ids_by_identity: BTreeMap<Identity, BTreeSet<ParticipantId>>,
}

impl Roster {
    /// The roster that a store returned.
    pub fn new(offset: u64, participants: Vec<Participant>) -> Self {
        let mut roster = Self {
            offset,
            ..Self::default()
        };
        for participant in participants {
            roster.put(participant);
        }
        roster
    }

    /// Offset of the last applied event.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// All participants, in the order of their ids.
    pub fn participants(&self) -> impl Iterator<Item = &Arc<Participant>> {
        self.participant_by_id.values()
    }

    /// A copy of all participants, for the store.
    pub fn to_vec(&self) -> Vec<Participant> {
        let participants = self.participants();
        participants
            .map(|participant| (**participant).clone())
            .collect()
    }

    /// Number of participants in the room.
    pub fn len(&self) -> usize {
        self.participant_by_id.len()
    }

    /// True when the room is empty.
    pub fn is_empty(&self) -> bool {
        self.participant_by_id.is_empty()
    }

    /// The participant with this id.
    pub fn participant(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participant_by_id.get(id).map(|known| &**known)
    }

    /// The participant with this identity; there is at most one.
    pub fn by_identity(&self, identity: &Identity) -> Option<&Participant> {
        let ids = self.ids_by_identity.get(identity)?;
        self.participant(ids.first()?)
    }

    /// A published track and its owner.
    pub fn track(&self, id: &TrackId) -> Option<(&ParticipantId, &Track)> {
        let owner = self.participant(self.owner_by_track.get(id)?)?;
        let track = owner.tracks.iter().find(|track| track.track == *id)?;
        Some((&owner.participant, track))
    }

    /// Applies the next event.
    pub fn apply(&mut self, offset: u64, event: &RoomEvent) {
        self.offset = offset;
        if let RoomEvent::ParticipantLeft { participant, .. } = event {
            self.remove(participant);
        }
        let before = event.participant().and_then(|id| self.participant(id));
        if let Some(changed) = event.applied_to(before) {
            self.put(changed);
        }
    }

    fn put(&mut self, participant: Participant) {
        let id = participant.participant.clone();
        self.remove(&id);
        for track in &participant.tracks {
            self.owner_by_track.insert(track.track.clone(), id.clone());
        }
        let ids = self
            .ids_by_identity
            .entry(participant.identity.clone())
            .or_default();
        ids.insert(id.clone());
        self.participant_by_id.insert(id, Arc::new(participant));
    }

    fn remove(&mut self, id: &ParticipantId) {
        let Some(participant) = self.participant_by_id.remove(id) else {
            return;
        };
        for track in &participant.tracks {
            self.owner_by_track.remove(&track.track);
        }
        if let Some(ids) = self.ids_by_identity.get_mut(&participant.identity) {
            ids.remove(id);
            if ids.is_empty() {
                self.ids_by_identity.remove(&participant.identity);
            }
        }
    }
}
