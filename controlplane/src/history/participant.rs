//! Participants and their tracks. The store keeps them in this form (JSON).

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Identity, NodeId, ParticipantId, TrackId};

/// Audio or video of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Audio, such as speech.
    Audio,
    /// Video, such as a camera or a screen.
    Video,
}

/// What a track captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names say it
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

    /// Parses an entry of a token's `canPublishSources`. LiveKit writes `screen_share` for
    /// `screen`.
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

/// One simulcast layer of a track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Id of the layer in SDP (RFC 8851).
    pub rid: String,
    /// Height in pixels at full resolution; 0 if unknown.
    pub height: u32,
}

/// A track that a participant publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Track {
    pub track: TrackId,
    pub kind: Kind,
    pub source: Source,
    pub muted: bool,
    /// Simulcast layers, lowest first; empty without simulcast.
    pub layers: Vec<Layer>,
    /// Node of the publisher's session.
    pub node: NodeId,
}

/// A participant of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct Participant {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub tracks: Vec<Track>,
    /// Node of the publish and subscribe sessions.
    pub node: NodeId,
    /// Generation of the sessions.
    #[serde(default)]
    pub generation: Generation,
}
