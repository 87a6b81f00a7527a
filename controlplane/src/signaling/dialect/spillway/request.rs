//! Messages of clients (docs/protocol.md).

use serde::Deserialize;
use serde_json::Value;

use crate::fleet;
use crate::history::{Kind, Layer, Source};
use crate::ids::{Epoch, Half, Identity, ParticipantId, TrackId};
use crate::room::{self, Persistence};

/// A message of a client; docs/protocol.md describes the fields.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub enum Request {
    Join(Join),
    Offer(Offer),
    Answer {
        revision: u64,
        sdp: String,
    },
    Candidate {
        pc: Half,
        candidate: String,
    },
    Subscribe {
        tracks: Vec<TrackSubscription>,
    },
    Unsubscribe {
        tracks: Vec<TrackId>,
    },
    Mute {
        track: TrackId,
        muted: bool,
    },
    Message {
        topic: String,
        payload: Value,
        #[serde(default)]
        to: Option<Vec<Identity>>,
        /// True: the message is not stored in the history. Only participants that are connected now
        /// get it.
        #[serde(default)]
        ephemeral: bool,
    },
    IceServers {},
    Ping {},
    Leave {},
}

/// The first message on a socket.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Join {
    pub token: String,
    #[serde(default = "yes")]
    pub auto_subscribe: bool,
    #[serde(default)]
    pub resume: Option<Resume>,
}

/// Resume key and position of a returning client.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Resume {
    pub participant: ParticipantId,
    pub epoch: Epoch,
    pub offset: u64,
    pub key: String,
}

/// A publish offer. It replaces the list of published tracks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Offer {
    pub sdp: String,
    pub tracks: Vec<OfferedTrack>,
}

/// One m-line of an offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct OfferedTrack {
    pub mid: String,
    pub kind: Kind,
    pub source: Source,
    #[serde(default)]
    pub track: Option<TrackId>,
    #[serde(default)]
    pub muted: bool,
    #[serde(default)]
    pub layers: Vec<Layer>,
}

/// Subscription to a track.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct TrackSubscription {
    pub track: TrackId,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub max_height: u32,
    #[serde(default)]
    pub priority: u8,
}

impl Request {
    /// The request for the room; `None` for requests that the session answers itself.
    pub fn into_room_request(self) -> Option<room::Request> {
        use room::Request as RoomRequest;
        Some(match self {
            Self::Join(_) | Self::Ping {} => return None,
            Self::Offer(offer) => RoomRequest::Offer(offer.into()),
            Self::Answer { revision, sdp } => RoomRequest::Answer { revision, sdp },
            Self::Candidate { pc, candidate } => RoomRequest::Candidate {
                half: pc,
                candidate,
            },
            Self::Subscribe { tracks } => RoomRequest::Subscribe {
                tracks: tracks
                    .into_iter()
                    .map(TrackSubscription::into_params)
                    .collect(),
            },
            Self::Unsubscribe { tracks } => RoomRequest::Unsubscribe { tracks },
            Self::Mute { track, muted } => RoomRequest::Mute { track, muted },
            Self::Message {
                topic,
                payload,
                to,
                ephemeral,
            } => RoomRequest::Message {
                topic,
                payload,
                to,
                persistence: if ephemeral {
                    Persistence::Ephemeral
                } else {
                    Persistence::Stored
                },
            },
            Self::IceServers {} => RoomRequest::IceServers,
            Self::Leave {} => RoomRequest::Leave,
        })
    }

    /// The highest value of [`Self::cost`].
    pub const MAX_COST: u32 = 5;

    /// Number of messages that this one counts as, without its length. Messages that cause work in
    /// the data plane or for a whole room count more.
    pub fn cost(&self) -> u32 {
        match self {
            Self::Offer(_) => Self::MAX_COST,
            Self::Answer { .. } | Self::Subscribe { .. } | Self::Unsubscribe { .. } => 2,
            Self::Join(_)
            | Self::Candidate { .. }
            | Self::Mute { .. }
            | Self::Message { .. }
            | Self::IceServers {}
            | Self::Ping {}
            | Self::Leave {} => 1,
        }
    }
}

impl From<Offer> for room::PublishOffer {
    fn from(offer: Offer) -> Self {
        let track = |track: OfferedTrack| room::OfferedTrack {
            mid: track.mid,
            kind: track.kind,
            source: track.source,
            track: track.track,
            muted: track.muted,
            layers: track.layers,
        };
        Self {
            sdp: offer.sdp,
            tracks: offer.tracks.into_iter().map(track).collect(),
        }
    }
}

impl TrackSubscription {
    fn into_params(self) -> (TrackId, fleet::SubscriptionParams) {
        let params = fleet::SubscriptionParams {
            paused: self.paused,
            max_height: self.max_height,
            priority: self.priority.into(),
        };
        (self.track, params)
    }
}

/// Without token and resume key, so that they never appear in logs.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resume = self.resume.as_ref().map(|resume| &resume.participant);
        write!(
            f,
            "Join {{ auto_subscribe: {}, resume: {resume:?} }}",
            self.auto_subscribe
        )
    }
}

fn yes() -> bool {
    true
}
