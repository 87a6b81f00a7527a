//! Error codes and close codes of the signaling protocol (docs/protocol.md, Errors).

use serde::Serialize;

/// Error codes of the protocol.
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

    /// True if the same request may succeed later.
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

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// Error code of the protocol, for programs.
    pub code: ErrorCode,
    /// Description with the value and the limit.
    pub message: String,
    /// Milliseconds until the same request may succeed, if known.
    pub after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            message,
            after_ms: None,
        }
    }
}

/// Reasons for closing a socket, with their WebSocket close codes.
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

    /// True if the client should reconnect with its resume key.
    pub fn resume(self) -> bool {
        match self {
            Self::Left | Self::ProtocolError | Self::TokenRefused | Self::Replaced => false,
            Self::Silent | Self::TooLarge | Self::TooFast | Self::GoingAway => true,
        }
    }
}
