//! Requests of clients to a room, independent of the message format (dialect).

use serde_json::Value;

use crate::auth::Grants;
use crate::fleet::SubscriptionParams;
use crate::history::{Kind, Layer, Source};
use crate::ids::{Epoch, Half, Identity, ParticipantId, RoomName, TrackId};

/// A request of a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A publish offer. It replaces the list of published tracks.
    Offer(PublishOffer),
    /// The answer to an offer of the subscribe session.
    Answer {
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the answer.
        sdp: String,
    },
    /// An ICE candidate of the client (RFC 8839).
    Candidate {
        /// Peer connection of the candidate.
        half: Half,
        /// The candidate, with or without `a=`.
        candidate: String,
    },
    /// Subscribes to tracks, or changes the parameters of subscriptions.
    Subscribe {
        /// Tracks with their parameters. If a track occurs twice, the last parameters count.
        tracks: Vec<(TrackId, SubscriptionParams)>,
    },
    /// Ends subscriptions, until the client subscribes again.
    Unsubscribe {
        /// Tracks whose subscriptions end.
        tracks: Vec<TrackId>,
    },
    /// Changes the mute state of a track of the participant.
    Mute {
        /// The track to mute or unmute.
        track: TrackId,
        /// True when the track is muted.
        muted: bool,
    },
    /// A message to other participants.
    Message {
        /// Topic of the message, defined by the application.
        topic: String,
        /// Content of the message, defined by the application.
        payload: Value,
        /// Identities that get the message; `None`: all participants.
        to: Option<Vec<Identity>>,
        /// Whether the message is stored in the history.
        persistence: Persistence,
    },
    /// Requests TURN credentials with a later expiry.
    IceServers,
    /// The participant leaves the room.
    Leave,
}

/// Whether a message is stored in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Stored: participants that resume later get the message.
    Stored,
    /// Not stored: only participants that are connected now get the message.
    Ephemeral,
}

/// A publish offer with its tracks.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishOffer {
    /// SDP of the offer.
    pub sdp: String,
    /// m-lines that are tracks. Other m-lines are ignored.
    pub tracks: Vec<OfferedTrack>,
}

/// One m-line of an offer.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTrack {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// Audio or video of the track.
    pub kind: Kind,
    /// Source of the track.
    pub source: Source,
    /// Id of the track, if the m-line continues a published track; `None` for a new track.
    pub track: Option<TrackId>,
    /// True when the track is muted.
    pub muted: bool,
    /// Simulcast layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A join request whose token and resume key are valid.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinRequest {
    /// The id that `joined` repeats.
    pub id: Option<u32>,
    /// Room of the token.
    pub room: RoomName,
    /// Identity: the token's claim `sub`.
    pub identity: Identity,
    /// Display name of the participant.
    pub name: String,
    /// Grants of the token.
    pub grants: Grants,
    /// True: the participant subscribes to all tracks automatically.
    pub auto_subscribe: bool,
    /// The participant that the client claims to be, from its resume key.
    pub resume: Option<ResumePoint>,
    /// Expiry of the latest valid token, seconds since 1970.
    pub token_ends_s: u64,
    /// Seconds since the token expired; `None` if the token is valid. With an expired token a
    /// client can only resume.
    pub expired: Option<u64>,
    /// Time of the join, seconds since 1970.
    pub unix_s: u64,
}

/// Position of a returning participant in the room's history.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumePoint {
    /// Id of the returning participant.
    pub participant: ParticipantId,
    /// Epoch and offset of the last event that the client received. `None`: events since then are
    /// not sent, only a snapshot.
    pub seen: Option<(Epoch, u64)>,
    /// Offset from which on the participant may see events.
    pub since: (Epoch, u64),
    /// The participant's grants at its last join.
    pub grants: Grants,
    /// Time of its first join, seconds since 1970.
    pub joined_s: u64,
    /// Time at which a stay without a valid token ends, seconds since 1970.
    pub ends_s: Option<u64>,
}

impl Request {
    /// Name of the request in metrics: the `type` of the message.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Answer { .. } => "answer",
            Self::Candidate { .. } => "candidate",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Mute { .. } => "mute",
            Self::Message { .. } => "message",
            Self::IceServers => "ice_servers",
            Self::Leave => "leave",
        }
    }
}
