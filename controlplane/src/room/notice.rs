//! Notices of a room to its participants. The dialect of each socket turns them into messages.

use std::sync::Arc;

use serde::Serialize;

use super::Refusal;
use crate::fleet::{MidTrack, Offer};
use crate::history::{Entry, Ephemeral, Participant};
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};
use crate::turn::Relays;

/// A notice to one or more sockets.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The participant has joined.
    Joined(Box<Joined>),
    /// The answer to a publish offer.
    Answer {
        /// The id of the answered request.
        id: Option<u32>,
        /// SDP of the answer.
        sdp: String,
        /// Tracks that can play, by m-line.
        tracks: Vec<MidTrack>,
    },
    /// An offer of the subscribe session.
    Offer(Offer),
    /// The next event of the history.
    Event(Arc<Entry>),
    /// Placeholder for an event that this participant must not see, because offsets have no gaps.
    Withheld {
        /// Offset of the withheld event.
        offset: u64,
    },
    /// A message outside the history.
    Message(Arc<Ephemeral>),
    /// Active speakers, the loudest first.
    Speakers(Vec<Speaker>),
    /// The simulcast layer that the participant receives of a track changed.
    Layer {
        /// The track of the subscription.
        track: TrackId,
        /// Id of the layer (RFC 8851); empty without simulcast.
        rid: String,
        /// True when media is received.
        is_active: bool,
        /// Why no media is received.
        reason: Option<String>,
    },
    /// The participant's sessions ended, or new ones are possible.
    Media {
        /// Whether media is lost or ready.
        state: MediaState,
        /// Why the sessions ended.
        reason: Option<String>,
    },
    /// TURN credentials with a later expiry.
    IceServers {
        /// The id of the answered request.
        id: Option<u32>,
        /// TURN servers, credentials and their lifetime.
        relays: Relays,
    },
    /// The reply to a request that succeeded.
    Ok {
        /// The id of the answered request.
        id: u32,
    },
    /// The reply to a request that failed.
    Refused {
        /// The id of the refused request.
        id: Option<u32>,
        /// Error code and message of the refusal.
        refusal: Refusal,
    },
}

/// Content of the message `joined`.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// The id of the `join` request.
    pub id: Option<u32>,
    /// Kind of the join.
    pub mode: Mode,
    /// Name of the room.
    pub room: RoomName,
    /// Id of the participant.
    pub participant: ParticipantId,
    /// Identity: the token's claim `sub`.
    pub identity: Identity,
    /// Epoch of the room's history.
    pub epoch: Epoch,
    /// Offset of the last event that this snapshot contains.
    pub offset: u64,
    /// Proves the participant's identity when the client resumes.
    pub resume_key: String,
    /// Other participants. `None` if the missed events follow instead.
    pub participants: Option<Vec<Arc<Participant>>>,
    /// TURN servers and credentials.
    pub relays: Relays,
    /// Limits that apply to the client.
    pub limits: JoinedLimits,
}

/// Kind of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The participant is new.
    New,
    /// The participant resumed; all missed events follow.
    Recovered,
    /// The participant resumed with a full snapshot, because its missed events are not available.
    Resync,
}

impl Mode {
    /// The name in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Recovered => "recovered",
            Self::Resync => "resync",
        }
    }
}

/// State of a participant's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    /// The peer connections have ended.
    Lost,
    /// New peer connections are possible.
    Ready,
}

/// Limits that apply to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JoinedLimits {
    /// Maximum size of one message in bytes.
    pub message_bytes: usize,
    /// Signaling messages that a client may send per second.
    pub messages_per_second: u32,
    /// Number of tracks that a participant may publish.
    pub tracks: usize,
}

/// An active speaker with its level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speaker {
    /// The participant that speaks.
    pub participant: ParticipantId,
    /// Audio level from 0 to 1.
    pub level: f32,
}

impl Notice {
    /// The `ok` for request `id`. A request without an id gets no reply.
    pub(super) fn ok(id: Option<u32>) -> Option<Self> {
        id.map(|id| Self::Ok { id })
    }

    pub(super) fn refused(id: Option<u32>, refusal: Refusal) -> Self {
        Self::Refused { id, refusal }
    }

    pub(super) fn media(state: MediaState, reason: Option<&str>) -> Self {
        let reason = reason.map(str::to_owned);
        Self::Media { state, reason }
    }

    /// The event, or a placeholder if `reader` must not see it.
    pub(super) fn event_for(entry: &Arc<Entry>, reader: &Identity) -> Self {
        match &entry.to {
            Some(to) if !to.contains(reader) => Self::Withheld {
                offset: entry.offset,
            },
            Some(_) | None => Self::Event(Arc::clone(entry)),
        }
    }
}
