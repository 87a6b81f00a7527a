//! The data plane's commands as values, so that the room can decide on them without doing them.

use spillway_wire::dataplane as wire;

/// A command; all are idempotent.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // dataplane.proto is their documentation
pub enum Call {
    PutPublish(wire::PutPublishRequest),
    PutSubscribe(wire::PutSubscribeRequest),
    PutSubscriptions(wire::PutSubscriptionsRequest),
    PutAnswer(wire::PutAnswerRequest),
    AddCandidate(wire::AddCandidateRequest),
    Annotate(wire::AnnotateRequest),
    CloseSession(wire::CloseSessionRequest),
}

/// What a command that succeeded returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// `PutPublish`'s answer, and the tracks that can play.
    Answer {
        /// The answer.
        sdp: String,
        /// Others of the request are not published.
        tracks: Vec<wire::PublishedTrack>,
    },
    /// The others return nothing.
    Nothing,
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The data plane cannot be reached, or did not answer in time.
    #[error("no data plane: {0}")]
    Unavailable(String),
    /// It refused an argument.
    #[error("{0}")]
    Invalid(String),
    /// It has no such session.
    #[error("{0}")]
    NoSession(String),
    /// The answer does not belong to the outstanding offer.
    #[error("{0}")]
    Stale(String),
    /// One of its limits is reached.
    #[error("{0}")]
    Full(String),
    /// It is of a version before this command.
    #[error("data plane: {0}")]
    Unsupported(String),
    /// Anything else.
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
