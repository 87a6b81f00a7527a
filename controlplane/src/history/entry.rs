//! Events with their offset.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Participant, RoomEvent};
use crate::ids::Identity;
use crate::json;

/// One event of a room's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's position in the history. The first event of an epoch has offset 1; offsets have
    /// no gaps.
    pub offset: u64,
    /// The event with this offset.
    pub event: RoomEvent,
    /// Identities that may see the event; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Identity>>,
}

impl Entry {
    /// Approximate size of the event in a message to a client, in bytes.
    pub fn bytes(&self) -> usize {
        /// Field names, numbers and ids.
        const FRAME: usize = 120;
        /// Field names, numbers and ids of a track.
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

/// Events since an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Missed {
    /// All events since then, in order.
    Entries(Vec<Arc<Entry>>),
    /// Not available: the offset is too old, or the history started over.
    TooOld,
}
