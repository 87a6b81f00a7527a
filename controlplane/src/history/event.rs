//! Events of a room. The store keeps them in this form (JSON).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Participant, Track};
use crate::ids::{Identity, ParticipantId, TrackId};

/// Reason why a participant left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// The participant sent `leave`.
    Left,
    /// The client did not reconnect within the grace time.
    Timeout,
    /// The same identity joined again.
    Replaced,
    /// Its token had expired at a resume, and no valid token followed in time.
    Removed,
}

/// A message outside the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are described in docs/protocol.md
pub struct Ephemeral {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub topic: String,
    pub payload: Value,
    /// Identities that may see the event; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Identity>>,
}

/// An event of a room; each has one offset of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are described in docs/protocol.md
pub enum RoomEvent {
    ParticipantJoined {
        participant: Participant,
    },
    ParticipantLeft {
        participant: ParticipantId,
        identity: Identity,
        reason: LeaveReason,
    },
    TrackPublished {
        participant: ParticipantId,
        track: Track,
    },
    TrackUnpublished {
        participant: ParticipantId,
        track: TrackId,
    },
    TrackMuted {
        participant: ParticipantId,
        track: TrackId,
        muted: bool,
    },
    Message {
        participant: ParticipantId,
        identity: Identity,
        topic: String,
        payload: Value,
    },
    /// Placeholder for a message to other participants, because offsets have no gaps.
    Private,
}

impl RoomEvent {
    /// The participant that the event changes; `None` if it changes none.
    pub fn participant(&self) -> Option<&ParticipantId> {
        match self {
            Self::ParticipantJoined { participant } => Some(&participant.participant),
            Self::ParticipantLeft { participant, .. }
            | Self::TrackPublished { participant, .. }
            | Self::TrackUnpublished { participant, .. }
            | Self::TrackMuted { participant, .. } => Some(participant),
            Self::Message { .. } | Self::Private => None,
        }
    }

    /// The participant after the event; `before` is the participant before it. `None` if the event
    /// does not change it.
    pub fn applied_to(&self, before: Option<&Participant>) -> Option<Participant> {
        match self {
            Self::ParticipantJoined { participant } => Some(participant.clone()),
            Self::TrackPublished { track, .. } => {
                let mut changed = before?.clone();
                changed.tracks.retain(|t| t.track != track.track);
                changed.tracks.push(track.clone());
                Some(changed)
            }
            Self::TrackUnpublished { track, .. } => {
                let mut changed = before?.clone();
                changed.tracks.retain(|t| t.track != *track);
                Some(changed)
            }
            Self::TrackMuted { track, muted, .. } => {
                let mut changed = before?.clone();
                let found = changed.tracks.iter_mut().find(|t| t.track == *track)?;
                found.muted = *muted;
                Some(changed)
            }
            Self::ParticipantLeft { .. } | Self::Message { .. } | Self::Private => None,
        }
    }
}
