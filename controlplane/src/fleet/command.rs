//! Commands to a node, as values: a room decides on them without executing them.

use super::{Published, SessionAnnotation, SyncGroup, Wish};
use crate::history::{Kind, Source};
use crate::ids::{SessionId, TrackId};

/// A command to a node; all are idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Makes a publish session, or negotiates it anew.
    PutPublish(PutPublish),
    /// Makes a subscribe session.
    PutSubscribe {
        /// The session to make or to keep.
        session: SessionId,
        /// Bytes that the node keeps with the session.
        annotation: SessionAnnotation,
        /// The server with the session's lease.
        owner: String,
    },
    /// Changes what a session is subscribed to.
    PutSubscriptions {
        /// The session that subscribes.
        session: SessionId,
        /// Subscriptions to add or to change.
        put: Vec<TrackWish>,
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
    /// A candidate of the client (RFC 8839).
    AddCandidate {
        /// The session of the candidate.
        session: SessionId,
        /// The candidate, with or without `a=`.
        candidate: String,
    },
    /// The mute state of a track.
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
    /// End a session and its connection.
    CloseSession {
        /// The session to end.
        session: SessionId,
        /// Reason of the end, for the node's log.
        reason: &'static str,
    },
}

/// Makes a publish session, or negotiates it anew.
#[derive(Debug, Clone, PartialEq)]
pub struct PutPublish {
    /// The session to make or to change.
    pub session: SessionId,
    /// SDP of the client's offer.
    pub sdp: String,
    /// All tracks of the session; other m-lines are ignored.
    pub tracks: Vec<Published>,
    /// Kept with the session.
    pub annotation: SessionAnnotation,
    /// The server with the session's lease.
    pub owner: String,
}

/// A track that a session is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackWish {
    /// The track to subscribe to.
    pub track: TrackId,
    /// Audio or video, as the track.
    pub kind: Kind,
    /// Parameters of the subscription.
    pub wish: Wish,
    /// Lip sync group of the track.
    pub group: SyncGroup,
}

/// Result of a command that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// `PutPublish`'s answer, and the tracks that can play.
    Answer {
        /// SDP of the node's answer.
        sdp: String,
        /// Others of the command are not published.
        tracks: Vec<Playable>,
    },
    /// The others return nothing.
    Nothing,
}

/// A track that was negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playable {
    /// The track that can play.
    pub track: TrackId,
    /// Rids of the negotiated layers.
    pub rids: Vec<String>,
}

/// Why a command did not succeed.
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
    /// The answer does not belong to the outstanding offer.
    #[error("{0}")]
    Stale(String),
    /// A limit of the node is reached.
    #[error("{0}")]
    Full(String),
    /// The node has a version without this command.
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
