//! Commands of the control plane to a session, and their results.

use std::sync::Arc;

use crate::key::TrackKey;
use crate::limits::OFFER_BYTES_PER_SECOND;
use crate::media::subscription::Wanted;
use crate::media::track::{TrackFormats, TrackSpec};

/// A command for one session.
#[derive(Debug, Clone)]
pub enum Command {
    /// The client's offer for a publish session, first or again.
    Publish {
        /// SDP of the offer.
        offer: String,
        /// All tracks from now on.
        tracks: Vec<TrackSpec>,
    },
    /// Changes of a subscribe session.
    Subscribe {
        /// Subscriptions to add or to change.
        put: Vec<Wanted>,
        /// Tracks whose subscriptions end.
        remove: Vec<TrackKey>,
    },
    /// The client's answer to our offer.
    Answer {
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the answer.
        sdp: String,
    },
    /// A candidate of the client.
    Candidate(String),
    /// End the session and close its connection.
    Close {
        /// Reason of the end, for the log.
        reason: String,
    },
}

/// Result of a command.
pub type CommandResult = Result<CommandReply, CommandError>;

/// Result of a command that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandReply {
    /// The command is done and has no result.
    Done,
    /// The answer to an offer.
    Answer(Answered),
}

/// Result of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// SDP of the answer.
    pub sdp: String,
    /// The tracks that are published: others of the offer cannot play.
    pub tracks: Vec<AnsweredTrack>,
}

/// A published track as it was negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredTrack {
    /// Name of the track inside the data plane.
    pub key: TrackKey,
    /// The control plane's name.
    pub id: Arc<str>,
    /// Rids of its negotiated layers.
    pub rids: Vec<String>,
    /// Negotiated formats of the track.
    pub formats: Arc<TrackFormats>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The data plane has no session with this name.
    #[error("no session '{0}'")]
    UnknownSession(String),
    /// The command is for the other kind of session.
    #[error("a {actual} session takes no {command}")]
    WrongRole {
        /// Role of the session.
        actual: &'static str,
        /// Name of the refused command.
        command: &'static str,
    },
    /// The SDP cannot be used.
    #[error("bad sdp: {0}")]
    BadSdp(String),
    /// The candidate cannot be used.
    #[error("bad candidate: {0}")]
    BadCandidate(String),
    /// An answer to an offer that is not the outstanding one.
    #[error("answer to offer {got}, but {outstanding} is outstanding")]
    StaleAnswer {
        /// Revision in the answer.
        got: u64,
        /// Ours; "none" when nothing is outstanding.
        outstanding: String,
    },
    /// A name that is too long or empty, a track without a kind, and the like.
    #[error("{0}")]
    Invalid(String),
    /// More of something than is allowed.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooMany {
        /// Name of the counted things.
        what: &'static str,
        /// Number in the request.
        got: usize,
        /// Maximum number in a request.
        limit: usize,
    },
    /// The client offers more often than it may.
    #[error(
        "{OFFER_BYTES_PER_SECOND} bytes of offers a second are read; this one can be sent again in {retry_ms} ms"
    )]
    TooSoon {
        /// Milliseconds after which a new offer will be read.
        retry_ms: u128,
    },
    /// The thread that should do it does not answer.
    #[error("the shard of the session did not answer")]
    Unanswered,
}

impl Command {
    /// Name of the command in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Publish { .. } => "offer",
            Command::Subscribe { .. } => "subscription",
            Command::Answer { .. } => "answer",
            Command::Candidate(_) => "candidate",
            Command::Close { .. } => "close",
        }
    }
}
