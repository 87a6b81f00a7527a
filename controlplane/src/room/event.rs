//! What a room's history is made of: participants, tracks and the events that change them.
//!
//! These are also the shapes clients see (docs/protocol.md) and the store keeps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Identity, ParticipantId, TrackId};

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // they say it themselves
pub enum Source {
    Camera,
    Microphone,
    Screen,
    ScreenAudio,
    Other,
}

impl Source {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::Screen => "screen",
            Self::ScreenAudio => "screen_audio",
            Self::Other => "other",
        }
    }

    /// From a token's `canPublishSources`, where LiveKit says `screen_share`.
    pub fn from_claim(name: &str) -> Option<Self> {
        match name {
            "camera" => Some(Self::Camera),
            "microphone" => Some(Self::Microphone),
            "screen" | "screen_share" => Some(Self::Screen),
            "screen_audio" | "screen_share_audio" => Some(Self::ScreenAudio),
            "other" => Some(Self::Other),
            _ => None,
        }
    }
}

/// One simulcast layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Name in the SDP.
    pub rid: String,
    /// Pixels at full resolution; 0 when unknown.
    pub height: u32,
}

/// Something a participant publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // they say it themselves
pub struct Track {
    pub track: TrackId,
    pub kind: Kind,
    pub source: Source,
    pub muted: bool,
    /// Lowest first; empty without simulcast.
    pub layers: Vec<Layer>,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // they say it themselves
pub struct Participant {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub tracks: Vec<Track>,
}

/// Why somebody is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// Said so.
    Left,
    /// The socket stayed away too long.
    Timeout,
    /// The same identity joined again.
    Replaced,
    /// Somebody with the power to do so removed it.
    Removed,
}

/// A message that is no part of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are described in docs/protocol.md
pub struct Ephemeral {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub topic: String,
    pub payload: Value,
    /// Who alone may see it; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Identity>>,
}

/// One change of a room; each takes one offset of its history.
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
    /// Stands for a message to others, so that offsets have no gaps.
    Private,
}

impl RoomEvent {
    /// Whose state it changes; `None` for what changes nobody's.
    pub(super) fn participant(&self) -> Option<&ParticipantId> {
        match self {
            Self::ParticipantJoined { participant } => Some(&participant.participant),
            Self::ParticipantLeft { participant, .. }
            | Self::TrackPublished { participant, .. }
            | Self::TrackUnpublished { participant, .. }
            | Self::TrackMuted { participant, .. } => Some(participant),
            Self::Message { .. } | Self::Private => None,
        }
    }

    /// What it makes of its participant, who was `before`; `None` when it makes nothing of it.
    pub(super) fn applied_to(&self, before: Option<&Participant>) -> Option<Participant> {
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
