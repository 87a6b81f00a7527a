//! Commands to a node, as values. Rooms create them, the connection to the node sends them.

use super::{Published, SessionAnnotation, SubscriptionParams, SyncGroup};
use crate::history::{Kind, Source};
use crate::ids::{SessionId, TrackId};

/// A command to a node. All commands are idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Creates a publish session, or renegotiates it.
    PutPublish(PutPublish),
    /// Creates a subscribe session.
    PutSubscribe {
        /// The session to create or to keep.
        session: SessionId,
        /// Bytes that the node keeps with the session.
        annotation: SessionAnnotation,
        /// Owner of the lease: the server of this room.
        owner: String,
    },
    /// Changes the subscriptions of a session.
    PutSubscriptions {
        /// The session that subscribes.
        session: SessionId,
        /// Subscriptions to add or change.
        put: Vec<TrackSubscription>,
        /// Tracks whose subscriptions end.
        remove: Vec<TrackId>,
    },
    /// The client's answer to a node's offer.
    PutAnswer {
        /// The session that made the offer.
        session: SessionId,
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the client's answer.
        sdp: String,
    },
    /// An ICE candidate of the client (RFC 8839).
    AddCandidate {
        /// The session of the candidate.
        session: SessionId,
        /// The candidate, with or without `a=`.
        candidate: String,
    },
    /// Sets the mute state of a track.
    Mute {
        /// The session of the publisher.
        session: SessionId,
        /// The track to mute or unmute.
        track: TrackId,
        /// Source of the track, kept in its annotation.
        source: Source,
        /// True when the publisher has muted the track.
        muted: bool,
    },
    /// Closes a session and its connection.
    CloseSession {
        /// The session to end.
        session: SessionId,
        /// Reason, for the node's log.
        reason: &'static str,
    },
}

/// Creates a publish session, or renegotiates it.
#[derive(Debug, Clone, PartialEq)]
pub struct PutPublish {
    /// The session to create or to change.
    pub session: SessionId,
    /// SDP of the client's offer.
    pub sdp: String,
    /// All tracks of the session; other m-lines are ignored.
    pub tracks: Vec<Published>,
    /// Bytes that the node keeps with the session.
    pub annotation: SessionAnnotation,
    /// Owner of the lease: the server of this room.
    pub owner: String,
}

/// A subscription to a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSubscription {
    /// The track to subscribe to.
    pub track: TrackId,
    /// Kind of the track.
    pub kind: Kind,
    /// Parameters of the subscription.
    pub params: SubscriptionParams,
    /// Lip sync group of the track.
    pub group: SyncGroup,
}

/// Result of a command that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The answer to [`Command::PutPublish`], with the tracks that can play.
    Answer {
        /// SDP of the node's answer.
        sdp: String,
        /// Tracks that can play. Other tracks of the command are not published.
        tracks: Vec<Playable>,
    },
    /// The result of all other commands.
    Nothing,
}

/// A track that the node has negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playable {
    /// The track that can play.
    pub track: TrackId,
    /// Rids of the negotiated layers.
    pub rids: Vec<String>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The data plane cannot be reached, or did not answer in time.
    #[error("no data plane: {0}")]
    Unavailable(String),
    /// The node refused an argument.
    #[error("{0}")]
    Invalid(String),
    /// The node has no such session.
    #[error("{0}")]
    NoSession(String),
    /// The client's answer belongs to an older offer.
    #[error("{0}")]
    Stale(String),
    /// The node has reached a limit.
    #[error("{0}")]
    Full(String),
    /// The node's version does not have this command.
    #[error("data plane: {0}")]
    Unsupported(String),
    /// Another error of the data plane.
    #[error("data plane: {0}")]
    Internal(String),
}

impl From<tonic::Status> for NodeError {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Self::Invalid(message),
            tonic::Code::NotFound => Self::NoSession(message),
            tonic::Code::FailedPrecondition => Self::Stale(message),
            tonic::Code::ResourceExhausted => Self::Full(message),
            tonic::Code::Unavailable
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Cancelled
            | tonic::Code::Unknown => Self::Unavailable(message),
            tonic::Code::Unimplemented => Self::Unsupported(message),
            code => Self::Internal(format!("{code}: {message}")),
        }
    }
}
