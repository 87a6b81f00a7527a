//! Messages of the server, made from a room's notices.

use serde::Serialize;

use crate::fleet::MidTrack;
use crate::history::{self, Kind, Layer, LeaveReason, RoomEvent, Source};
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};
use crate::room::{self, ErrorCode, JoinedLimits, MediaState, Mode, Notice, Refusal, Speaker};
use crate::turn::Relays;

/// A message of the server; docs/protocol.md describes the fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub enum ServerMessage<'a> {
    Joined(Joined<'a>),
    Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        sdp: &'a str,
        tracks: &'a [MidTrack],
    },
    Offer {
        revision: u64,
        sdp: &'a str,
        tracks: &'a [MidTrack],
    },
    Event {
        offset: u64,
        event: Event<'a>,
    },
    Message {
        participant: &'a ParticipantId,
        identity: &'a Identity,
        topic: &'a str,
        payload: &'a serde_json::Value,
    },
    Speakers {
        speakers: &'a [Speaker],
    },
    Layer {
        track: &'a TrackId,
        rid: &'a str,
        active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Media {
        state: MediaState,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Closing {
        code: u16,
        reason: &'a str,
        resume: bool,
        after_ms: u64,
    },
    IceServers {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        #[serde(flatten)]
        relays: &'a Relays,
    },
    Ok {
        id: u32,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        code: ErrorCode,
        message: &'a str,
        retry: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
}

/// Content of the message `joined`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Joined<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    pub mode: Mode,
    pub room: &'a RoomName,
    pub participant: &'a ParticipantId,
    pub identity: &'a Identity,
    pub epoch: &'a Epoch,
    pub offset: u64,
    pub resume_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<Vec<Participant<'a>>>,
    #[serde(flatten)]
    pub relays: &'a Relays,
    pub limits: JoinedLimits,
}

/// A participant in the room.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Participant<'a> {
    pub participant: &'a ParticipantId,
    pub identity: &'a Identity,
    pub name: &'a str,
    pub tracks: Vec<Track<'a>>,
}

/// A published track. Clients do not see its node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub struct Track<'a> {
    pub track: &'a TrackId,
    pub kind: Kind,
    pub source: Source,
    pub muted: bool,
    pub layers: &'a [Layer],
}

/// An event of the room.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // docs/protocol.md is their documentation
pub enum Event<'a> {
    ParticipantJoined {
        participant: Participant<'a>,
    },
    ParticipantLeft {
        participant: &'a ParticipantId,
        identity: &'a Identity,
        reason: LeaveReason,
    },
    TrackPublished {
        participant: &'a ParticipantId,
        track: Track<'a>,
    },
    TrackUnpublished {
        participant: &'a ParticipantId,
        track: &'a TrackId,
    },
    TrackMuted {
        participant: &'a ParticipantId,
        track: &'a TrackId,
        muted: bool,
    },
    Message {
        participant: &'a ParticipantId,
        identity: &'a Identity,
        topic: &'a str,
        payload: &'a serde_json::Value,
    },
    Private {},
}

impl<'a> Participant<'a> {
    fn of(participant: &'a history::Participant) -> Self {
        Self {
            participant: &participant.participant,
            identity: &participant.identity,
            name: &participant.name,
            tracks: participant.tracks.iter().map(Track::of).collect(),
        }
    }
}

impl<'a> Track<'a> {
    fn of(track: &'a history::Track) -> Self {
        Self {
            track: &track.track,
            kind: track.kind,
            source: track.source,
            muted: track.muted,
            layers: &track.layers,
        }
    }
}

impl<'a> Event<'a> {
    fn of(event: &'a RoomEvent) -> Self {
        match event {
            RoomEvent::ParticipantJoined { participant } => Self::ParticipantJoined {
                participant: Participant::of(participant),
            },
            RoomEvent::ParticipantLeft {
                participant,
                identity,
                reason,
            } => Self::ParticipantLeft {
                participant,
                identity,
                reason: *reason,
            },
            RoomEvent::TrackPublished { participant, track } => Self::TrackPublished {
                participant,
                track: Track::of(track),
            },
            RoomEvent::TrackUnpublished { participant, track } => {
                Self::TrackUnpublished { participant, track }
            }
            RoomEvent::TrackMuted {
                participant,
                track,
                muted,
            } => Self::TrackMuted {
                participant,
                track,
                muted: *muted,
            },
            RoomEvent::Message {
                participant,
                identity,
                topic,
                payload,
            } => Self::Message {
                participant,
                identity,
                topic,
                payload,
            },
            RoomEvent::Private => Self::Private {},
        }
    }
}

impl<'a> ServerMessage<'a> {
    /// Converts a notice of a room.
    pub(super) fn of_notice(notice: &'a Notice) -> Self {
        match notice {
            Notice::Joined(joined) => Self::Joined(Joined::of_notice(joined)),
            Notice::Answer { id, sdp, tracks } => {
                let id = *id;
                Self::Answer { id, sdp, tracks }
            }
            Notice::Offer(offer) => Self::Offer {
                revision: offer.revision,
                sdp: &offer.sdp,
                tracks: &offer.tracks,
            },
            Notice::Event(entry) => Self::Event {
                offset: entry.offset,
                event: Event::of(&entry.event),
            },
            Notice::Withheld { offset } => Self::Event {
                offset: *offset,
                event: Event::Private {},
            },
            Notice::Message(message) => Self::Message {
                participant: &message.participant,
                identity: &message.identity,
                topic: &message.topic,
                payload: &message.payload,
            },
            Notice::Speakers(speakers) => Self::Speakers { speakers },
            Notice::Layer {
                track,
                rid,
                is_active,
                reason,
            } => Self::Layer {
                track,
                rid,
                active: *is_active,
                reason: reason.as_deref(),
            },
            Notice::Media { state, reason } => Self::Media {
                state: *state,
                reason: reason.as_deref(),
            },
            Notice::IceServers { id, relays } => Self::IceServers { id: *id, relays },
            Notice::Ok { id } => Self::Ok { id: *id },
            Notice::Refused { id, refusal } => Self::refusal(*id, refusal),
        }
    }

    /// The error for request `id`.
    pub(super) fn refusal(id: Option<u32>, refusal: &'a Refusal) -> Self {
        Self::Error {
            id,
            code: refusal.code,
            message: &refusal.message,
            retry: refusal.code.retry(),
            after_ms: refusal.after_ms,
        }
    }
}

impl<'a> Joined<'a> {
    fn of_notice(joined: &'a room::Joined) -> Self {
        Self {
            id: joined.id,
            mode: joined.mode,
            room: &joined.room,
            participant: &joined.participant,
            identity: &joined.identity,
            epoch: &joined.epoch,
            offset: joined.offset,
            resume_key: &joined.resume_key,
            participants: joined.participants.as_ref().map(|all| {
                let all = all.iter();
                all.map(|participant| Participant::of(participant))
                    .collect()
            }),
            relays: &joined.relays,
            limits: joined.limits,
        }
    }
}
