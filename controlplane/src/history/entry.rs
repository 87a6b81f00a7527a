//! Events with an offset.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Participant, RoomEvent};
use crate::ids::Identity;
use crate::json;

/// One event of a room's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; the first of an epoch is 1 and there are no gaps.
    pub offset: u64,
    /// The event with this offset.
    pub event: RoomEvent,
    /// Identities that may see the event; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Identity>>,
}

impl Entry {
    /// About as many bytes as a client is told of it.
    pub fn bytes(&self) -> usize {
        /// Names of fields, numbers, identifiers.
        const FRAME: usize = 120;
        /// The same of a track.
        const TRACK: usize = 110;
        let tracks = |participant: &Participant| participant.tracks.len() * TRACK;
        FRAME
            + match &self.event {
                RoomEvent::ParticipantJoined { participant } => {
                    participant.identity.as_str().len()
                        + participant.name.len()
                        + tracks(participant)
                }
                RoomEvent::ParticipantLeft { identity, .. } => identity.as_str().len(),
                RoomEvent::TrackPublished { .. } => TRACK,
                RoomEvent::TrackUnpublished { .. }
                | RoomEvent::TrackMuted { .. }
                | RoomEvent::Private => 0,
                RoomEvent::Message {
                    identity,
                    topic,
                    payload,
                    ..
                } => identity.as_str().len() + topic.len() + json::bytes(payload),
            }
    }
}

/// What happened since an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Missed {
    /// This, in order; nothing is missing.
    Entries(Vec<Arc<Entry>>),
    /// The history does not reach back that far, or started over.
    TooOld,
}
