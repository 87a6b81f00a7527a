//! Commands of the control plane to a session, and their results.

use std::sync::Arc;

use crate::key::TrackKey;
use crate::limits::OFFER_BYTES_PER_SECOND;
use crate::media::subscription::Wanted;
use crate::media::track::{TrackFormats, TrackSpec};

/// A command for one session.
#[derive(Debug, Clone)]
pub enum Command {
    /// The client's offer for a publish session, the first or a later one.
    Publish {
        /// SDP of the offer.
        offer: String,
        /// All tracks that the session publishes from now on.
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
    /// An ICE candidate of the client.
    Candidate(String),
    /// Ends the session and closes its connection.
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

/// Answer to a publish session's offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// SDP of the answer.
    pub sdp: String,
    /// Tracks that were negotiated; other tracks of the offer cannot play.
    pub tracks: Vec<AnsweredTrack>,
}

/// A published track as it was negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredTrack {
    /// Key of the track in the data plane.
    pub key: TrackKey,
    /// Name of the track in the control plane.
    pub id: Arc<str>,
    /// Rids of the negotiated simulcast layers.
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
    /// The command is for a session of the other role.
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
    /// The answer is not for the outstanding offer.
    #[error("answer to offer {got}, but {outstanding} is outstanding")]
    StaleAnswer {
        /// Revision in the answer.
        got: u64,
        /// Revision of the outstanding offer; "none" without one.
        outstanding: String,
    },
    /// A value is invalid, such as an empty or too long name.
    #[error("{0}")]
    Invalid(String),
    /// The command exceeds a limit.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooMany {
        /// Name of the limited quantity, for the error text.
        what: &'static str,
        /// Number in the request.
        got: usize,
        /// Maximum number in a request.
        limit: usize,
    },
    /// The client sends offers at a higher rate than allowed.
    #[error(
        "{OFFER_BYTES_PER_SECOND} bytes of offers a second are read; this one can be sent again in {retry_ms} ms"
    )]
    TooSoon {
        /// Time until the next offer will be accepted, in milliseconds.
        retry_ms: u128,
    },
    /// The shard or control thread did not answer in time.
    #[error("the shard of the session did not answer")]
    Unanswered,
}

impl Command {
    /// Name of the command, for error texts.
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
