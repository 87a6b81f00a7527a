//! Requests of clients to a room, independent of the dialect.

use serde_json::Value;

use crate::auth::Grants;
use crate::fleet::Wish;
use crate::history::{Kind, Layer, Source};
use crate::ids::{Epoch, Half, Identity, ParticipantId, RoomName, TrackId};

/// A request of a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Everything that the participant publishes from now on.
    Offer(PublishOffer),
    /// The answer to an offer of the subscribe session.
    Answer {
        /// Revision of the answered offer.
        revision: u64,
        /// SDP of the answer.
        sdp: String,
    },
    /// A candidate (RFC 8839).
    Candidate {
        /// Peer connection of the candidate.
        half: Half,
        /// The candidate, with or without `a=`.
        candidate: String,
    },
    /// Tracks that are wanted from now on, and how.
    Subscribe {
        /// Each at most once; the last one counts.
        tracks: Vec<(TrackId, Wish)>,
    },
    /// Tracks that are wanted no more.
    Unsubscribe {
        /// Tracks whose subscriptions end.
        tracks: Vec<TrackId>,
    },
    /// The mute state of a track of the participant.
    Mute {
        /// The track to mute or unmute.
        track: TrackId,
        /// True when the track is muted.
        muted: bool,
    },
    /// A message to the others.
    Message {
        /// Topic of the message, defined by the application.
        topic: String,
        /// Content of the message, defined by the application.
        payload: Value,
        /// Identities that get the message; absent means all.
        to: Option<Vec<Identity>>,
        /// Whether the message becomes part of the history.
        lasts: Lasts,
    },
    /// TURN credentials that last longer.
    IceServers,
    /// The participant leaves the room.
    Leave,
}

/// Whether a message becomes part of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Participants that come back get the message.
    Yes,
    /// Only participants that are connected now get the message.
    No,
}

/// Everything that a participant publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishOffer {
    /// SDP of the offer.
    pub sdp: String,
    /// m-lines that are tracks; others are ignored.
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
    /// The track that it was before; absent for a new one.
    pub track: Option<TrackId>,
    /// True when the track is muted.
    pub muted: bool,
    /// Simulcast layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A join with a valid token and resume key.
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
    /// True: tracks of others are subscribed automatically.
    pub auto_subscribe: bool,
    /// The participant that the client was before, with proof.
    pub resume: Option<ResumePoint>,
    /// Expiry of the latest valid token, seconds since 1970.
    pub token_ends_s: u64,
    /// Seconds since the token expired: such a client may come back, but not join anew.
    pub expired: Option<u64>,
    /// Time of the join, seconds since 1970.
    pub unix_s: u64,
}

/// Position of a returning participant in the room's history.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumePoint {
    /// The participant that comes back.
    pub participant: ParticipantId,
    /// Epoch and offset of the last received event; absent if later events must not be sent.
    pub seen: Option<(Epoch, u64)>,
    /// Start of the history that it may see.
    pub since: (Epoch, u64),
    /// Grants before the return.
    pub grants: Grants,
    /// Time of its first join, seconds since 1970.
    pub joined_s: u64,
    /// End of its stay without a valid token, seconds since 1970.
    pub ends_s: Option<u64>,
}

impl Request {
    /// Name of the request in the metrics, which is the message's type.
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
