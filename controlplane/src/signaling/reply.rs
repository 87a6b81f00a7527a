//! What the server says.

use serde::Serialize;

use crate::history::{Participant, RoomEvent};
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};

/// Names of errors, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md, Errors
pub enum ErrorCode {
    BadMessage,
    TooLarge,
    TooFast,
    TooMuch,
    NotJoined,
    AlreadyJoined,
    TokenInvalid,
    TokenExpired,
    TokenWrongRoom,
    NotPermitted,
    BadSdp,
    BadCandidate,
    UnknownTrack,
    UnknownParticipant,
    StaleAnswer,
    TooManyTracks,
    TooManyParticipants,
    MediaUnavailable,
    NodeFull,
    StoreUnavailable,
    Internal,
}

impl ErrorCode {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::TooLarge => "too_large",
            Self::TooFast => "too_fast",
            Self::TooMuch => "too_much",
            Self::NotJoined => "not_joined",
            Self::AlreadyJoined => "already_joined",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenWrongRoom => "token_wrong_room",
            Self::NotPermitted => "not_permitted",
            Self::BadSdp => "bad_sdp",
            Self::BadCandidate => "bad_candidate",
            Self::UnknownTrack => "unknown_track",
            Self::UnknownParticipant => "unknown_participant",
            Self::StaleAnswer => "stale_answer",
            Self::TooManyTracks => "too_many_tracks",
            Self::TooManyParticipants => "too_many_participants",
            Self::MediaUnavailable => "media_unavailable",
            Self::NodeFull => "node_full",
            Self::StoreUnavailable => "store_unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether the same message may succeed later.
    pub fn retry(self) -> bool {
        matches!(
            self,
            Self::TooFast
                | Self::TooMuch
                | Self::TooManyParticipants
                | Self::MediaUnavailable
                | Self::NodeFull
                | Self::StoreUnavailable
                | Self::Internal
        )
    }
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people; names the value and the limit.
    pub message: String,
    /// When the same request may succeed, if that is known.
    pub after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            message,
            after_ms: None,
        }
    }
}

/// Why a socket is closed; the numbers are WebSocket close codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // docs/protocol.md, Errors
pub enum CloseCode {
    Left,
    ProtocolError,
    TokenRefused,
    Silent,
    Replaced,
    TooLarge,
    TooFast,
    GoingAway,
}

impl CloseCode {
    /// The number in the close frame.
    pub fn number(self) -> u16 {
        match self {
            Self::Left => 1000,
            Self::ProtocolError => 4400,
            Self::TokenRefused => 4401,
            Self::Silent => 4408,
            Self::Replaced => 4409,
            Self::TooLarge => 4413,
            Self::TooFast => 4429,
            Self::GoingAway => 4503,
        }
    }

    /// Whether coming back with a resume key makes sense.
    pub fn resume(self) -> bool {
        match self {
            Self::Left | Self::ProtocolError | Self::TokenRefused | Self::Replaced => false,
            Self::Silent | Self::TooLarge | Self::TooFast | Self::GoingAway => true,
        }
    }
}

/// How a `joined` came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md, Coming back
pub enum Mode {
    New,
    Recovered,
    Resync,
}

impl Mode {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Recovered => "recovered",
            Self::Resync => "resync",
        }
    }
}

/// Whether there is a media server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md, Server to client
pub enum MediaState {
    Lost,
    Ready,
}

/// Everything the server says; the fields are described in docs/protocol.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub enum ServerMessage<'a> {
    Joined(Joined<'a>),
    Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        sdp: &'a str,
        tracks: &'a [MidTrack],
    },
    Offer {
        revision: u64,
        sdp: &'a str,
        tracks: &'a [MidTrack],
    },
    Event {
        offset: u64,
        event: &'a RoomEvent,
    },
    Message {
        participant: &'a ParticipantId,
        identity: &'a Identity,
        topic: &'a str,
        payload: &'a serde_json::Value,
    },
    Speakers {
        speakers: &'a [Speaker],
    },
    Layer {
        track: &'a TrackId,
        rid: &'a str,
        active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Media {
        state: MediaState,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Closing {
        code: u16,
        reason: &'a str,
        resume: bool,
        after_ms: u64,
    },
    IceServers {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        #[serde(flatten)]
        relays: &'a Relays,
    },
    Ok {
        id: u32,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        code: ErrorCode,
        message: &'a str,
        retry: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
}

/// The answer to `join`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Joined<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    pub mode: Mode,
    pub room: &'a RoomName,
    pub participant: &'a ParticipantId,
    pub identity: &'a Identity,
    pub epoch: &'a Epoch,
    pub offset: u64,
    pub resume_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<Vec<&'a Participant>>,
    #[serde(flatten)]
    pub relays: &'a Relays,
    pub limits: JoinedLimits,
}

/// What a client reaches media with in spite of its firewall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Relays {
    /// None where nobody relays.
    pub ice_servers: Vec<IceServer>,
    /// For how long from now on they may be asked to relay; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_ttl_s: Option<u64>,
}

/// A STUN or TURN server, in the browser's own shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // RTCIceServer
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// What the client must stay within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct JoinedLimits {
    pub message_bytes: usize,
    pub messages_per_second: u32,
    pub tracks: usize,
}

/// Which track an m-line carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // they say it themselves
pub struct MidTrack {
    pub mid: String,
    pub track: TrackId,
}

/// Somebody who is heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // they say it themselves
pub struct Speaker {
    pub participant: ParticipantId,
    /// 0 to 1.
    pub level: f32,
}
