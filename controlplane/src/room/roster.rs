//! Who is in the room and what they publish: the room's history, folded.
//!
//! Every signaling node that serves the room folds the same events and has the same roster.

use std::collections::BTreeMap;

use super::{Participant, RoomEvent, Track};
use crate::ids::{Identity, ParticipantId, TrackId};

/// The state after the events up to `offset`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roster {
    offset: u64,
    participant_by_id: BTreeMap<ParticipantId, Participant>,
    owner_by_track: BTreeMap<TrackId, ParticipantId>,
}

impl Roster {
    /// The state a store holds.
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

    /// Number of the last event applied.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Everybody, in the order of their ids.
    pub fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.participant_by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.participant_by_id.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.participant_by_id.is_empty()
    }

    /// By id.
    pub fn participant(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participant_by_id.get(id)
    }

    /// By identity; there is at most one.
    pub fn by_identity(&self, identity: &Identity) -> Option<&Participant> {
        self.participants().find(|p| p.identity == *identity)
    }

    /// A published track and its owner.
    pub fn track(&self, id: &TrackId) -> Option<(&ParticipantId, &Track)> {
        let owner = self.participant(self.owner_by_track.get(id)?)?;
        let track = owner.tracks.iter().find(|track| track.track == *id)?;
        Some((&owner.participant, track))
    }

    /// What `event` makes of the participant it is about; `None` when it changes nobody.
    pub fn changed(&self, event: &RoomEvent) -> Option<Participant> {
        let of = |id: &ParticipantId| self.participant(id).cloned();
        match event {
            RoomEvent::ParticipantJoined { participant } => Some(participant.clone()),
            RoomEvent::TrackPublished { participant, track } => {
                let mut changed = of(participant)?;
                changed.tracks.retain(|t| t.track != track.track);
                changed.tracks.push(track.clone());
                Some(changed)
            }
            RoomEvent::TrackUnpublished { participant, track } => {
                let mut changed = of(participant)?;
                changed.tracks.retain(|t| t.track != *track);
                Some(changed)
            }
            RoomEvent::TrackMuted {
                participant,
                track,
                muted,
            } => {
                let mut changed = of(participant)?;
                let found = changed.tracks.iter_mut().find(|t| t.track == *track)?;
                found.muted = *muted;
                Some(changed)
            }
            RoomEvent::ParticipantLeft { .. } | RoomEvent::Message { .. } | RoomEvent::Private => {
                None
            }
        }
    }

    /// Folds one more event.
    pub fn apply(&mut self, offset: u64, event: &RoomEvent) {
        self.offset = offset;
        if let RoomEvent::ParticipantLeft { participant, .. } = event {
            self.remove(participant);
        }
        if let Some(changed) = self.changed(event) {
            self.put(changed);
        }
    }

    fn put(&mut self, participant: Participant) {
        let id = participant.participant.clone();
        self.remove(&id);
        for track in &participant.tracks {
            self.owner_by_track.insert(track.track.clone(), id.clone());
        }
        self.participant_by_id.insert(id, participant);
    }

    fn remove(&mut self, id: &ParticipantId) {
        for track in self
            .participant_by_id
            .remove(id)
            .iter()
            .flat_map(|p| &p.tracks)
        {
            self.owner_by_track.remove(&track.track);
        }
    }
}
