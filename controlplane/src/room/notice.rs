//! Notices of a room to its participants. The dialect of each socket formats them.

use std::sync::Arc;

use serde::Serialize;

use super::Refusal;
use crate::fleet::{MidTrack, Offer};
use crate::history::{Entry, Ephemeral, Participant};
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};
use crate::turn::Relays;

/// Something that happened, for those it concerns.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The participant is in.
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
    /// The subscribe session is to be negotiated.
    Offer(Offer),
    /// The next event of the history.
    Event(Arc<Entry>),
    /// Stands for an event that others alone may see, so that offsets have no gaps.
    Withheld {
        /// Offset of the withheld event.
        offset: u64,
    },
    /// A message of no history.
    Message(Arc<Ephemeral>),
    /// Active speakers, the loudest first.
    Speakers(Vec<Speaker>),
    /// The received layer of a track changed.
    Layer {
        /// The track of the subscription.
        track: TrackId,
        /// The layer, or empty.
        rid: String,
        /// True when media is received.
        is_active: bool,
        /// Why it is not.
        reason: Option<String>,
    },
    /// The participant's media is lost, or can be made anew.
    Media {
        /// Whether media is lost or ready.
        state: MediaState,
        /// Why it is lost.
        reason: Option<String>,
    },
    /// TURN credentials that last longer.
    IceServers {
        /// The id of the answered request.
        id: Option<u32>,
        /// They, and where they hold.
        relays: Relays,
    },
    /// A request was done.
    Ok {
        /// The id of the answered request.
        id: u32,
    },
    /// A request was not done.
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
    /// The last event of it that is known with this.
    pub offset: u64,
    /// Proves the participant's identity after a broken socket.
    pub resume_key: String,
    /// The others; absent where the events since the resume point follow.
    pub participants: Option<Vec<Arc<Participant>>>,
    /// TURN servers and credentials.
    pub relays: Relays,
    /// Limits of the client.
    pub limits: JoinedLimits,
}

/// Kind of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The participant is new.
    New,
    /// A return without missed events.
    Recovered,
    /// A return with a full snapshot.
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
    /// Its peer connections have ended.
    Lost,
    /// New peer connections are possible.
    Ready,
}

/// Limits of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JoinedLimits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Signaling messages that a client may send per second.
    pub messages_per_second: u32,
    /// Tracks that it may publish.
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
    /// The `ok` that answers request `id`; a request without one is not answered.
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

    /// The event as `reader` may see it.
    pub(super) fn event_for(entry: &Arc<Entry>, reader: &Identity) -> Self {
        match &entry.to {
            Some(to) if !to.contains(reader) => Self::Withheld {
                offset: entry.offset,
            },
            Some(_) | None => Self::Event(Arc::clone(entry)),
        }
    }
}
