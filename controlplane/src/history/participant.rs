//! Participants and their tracks, in the form that the store keeps.

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

/// One simulcast layer of a track.
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
    /// Home of the track: its publisher's node.
    pub node: NodeId,
}

/// A participant of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // they say it themselves
pub struct Participant {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub tracks: Vec<Track>,
    /// Node of both of its sessions.
    pub node: NodeId,
    /// Generation of its sessions.
    #[serde(default)]
    pub generation: Generation,
}
