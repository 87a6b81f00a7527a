//! Converts between types of the schema (`wire/proto/dataplane.proto`) and this folder's types.

use spillway_wire::dataplane as wire;

use super::{
    Command, Done, HeldSession, MidTrack, NodeEvent, Offer, Playable, Published, PutPublish,
    SessionAnnotation, SubscriptionParams, SyncGroup, TrackAnnotation, TrackSubscription,
};
use crate::history::{Kind, Layer, Source, Track};
use crate::ids::{NodeId, TrackId};

/// A command as a request of the schema.
pub enum Request {
    /// `PutPublish` of the schema.
    PutPublish(wire::PutPublishRequest),
    /// `PutSubscribe` of the schema.
    PutSubscribe(wire::PutSubscribeRequest),
    /// `PutSubscriptions` of the schema.
    PutSubscriptions(wire::PutSubscriptionsRequest),
    /// `PutAnswer` of the schema.
    PutAnswer(wire::PutAnswerRequest),
    /// `AddCandidate` of the schema.
    AddCandidate(wire::AddCandidateRequest),
    /// `Annotate` of the schema.
    Annotate(wire::AnnotateRequest),
    /// `CloseSession` of the schema.
    CloseSession(wire::CloseSessionRequest),
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        match command {
            Command::PutPublish(put) => Self::PutPublish(put.into()),
            Command::PutSubscribe {
                session,
                annotation,
                owner,
            } => Self::PutSubscribe(wire::PutSubscribeRequest {
                session: session.to_string(),
                annotation: annotation.encode(),
                owner,
            }),
            Command::PutSubscriptions {
                session,
                put,
                remove,
            } => Self::PutSubscriptions(wire::PutSubscriptionsRequest {
                session: session.to_string(),
                put: put.into_iter().map(wire::TrackWish::from).collect(),
                remove: remove.iter().map(TrackId::to_string).collect(),
            }),
            Command::PutAnswer {
                session,
                revision,
                sdp,
            } => Self::PutAnswer(wire::PutAnswerRequest {
                session: session.to_string(),
                revision,
                answer_sdp: sdp,
            }),
            Command::AddCandidate { session, candidate } => {
                let session = session.to_string();
                Self::AddCandidate(wire::AddCandidateRequest { session, candidate })
            }
            Command::Mute {
                session,
                track,
                source,
                muted,
            } => Self::Annotate(wire::AnnotateRequest {
                session: session.to_string(),
                track: track.to_string(),
                annotation: TrackAnnotation::new(source).encode(),
                muted: Some(muted),
            }),
            Command::CloseSession { session, reason } => {
                Self::CloseSession(wire::CloseSessionRequest {
                    session: session.to_string(),
                    reason: reason.to_owned(),
                })
            }
        }
    }
}

impl From<PutPublish> for wire::PutPublishRequest {
    fn from(put: PutPublish) -> Self {
        Self {
            session: put.session.to_string(),
            offer_sdp: put.sdp,
            tracks: put.tracks.into_iter().map(wire::Track::from).collect(),
            annotation: put.annotation.encode(),
            owner: put.owner,
        }
    }
}

impl From<Published> for wire::Track {
    fn from(published: Published) -> Self {
        let track = published.track;
        let layer = |layer: Layer| wire::Layer {
            rid: layer.rid,
            height: layer.height,
        };
        Self {
            track: track.track.to_string(),
            mid: published.mid,
            kind: wire_kind(track.kind).into(),
            layers: track.layers.into_iter().map(layer).collect(),
            annotation: TrackAnnotation::new(track.source).encode(),
            muted: track.muted,
        }
    }
}

impl From<TrackSubscription> for wire::TrackWish {
    fn from(wanted: TrackSubscription) -> Self {
        let SyncGroup { stream, cname } = wanted.group;
        Self {
            track: wanted.track.to_string(),
            kind: wire_kind(wanted.kind).into(),
            wish: Some(wire::Wish {
                paused: wanted.params.paused,
                max_height: wanted.params.max_height,
                priority: wanted.params.priority,
            }),
            group: Some(wire::SyncGroup { stream, cname }),
        }
    }
}

fn wire_kind(kind: Kind) -> wire::Kind {
    match kind {
        Kind::Audio => wire::Kind::Audio,
        Kind::Video => wire::Kind::Video,
    }
}

/// Converts the answer of a node. Tracks with ids of another format are ignored.
pub fn answer(reply: wire::PutPublishReply) -> Done {
    let playable = |track: wire::PublishedTrack| {
        let (track, rids) = (track.track.parse().ok()?, track.rids);
        Some(Playable { track, rids })
    };
    Done::Answer {
        sdp: reply.answer_sdp,
        tracks: reply.tracks.into_iter().filter_map(playable).collect(),
    }
}

/// Converts a session. `None` if its id has another format: another control plane created it, and
/// it is left alone.
pub fn session(node: &NodeId, held: wire::Session) -> Option<HeldSession> {
    let Ok(session) = held.session.parse() else {
        tracing::warn!(session = %held.session, "node: ignoring a session of another control plane");
        return None;
    };
    let wish = |subscription: wire::Subscription| {
        let wish = subscription.wish.unwrap_or_default();
        Some((subscription.track.parse().ok()?, self::params(wish)))
    };
    Some(HeldSession {
        session,
        annotation: SessionAnnotation::decode(&held.annotation),
        connected_shard: held.shard.filter(|_| held.connected),
        tracks: {
            let tracks = held.tracks.into_iter();
            tracks.filter_map(|track| published(node, track)).collect()
        },
        subscriptions: held.subscriptions.into_iter().filter_map(wish).collect(),
        outstanding_offer: held.outstanding_offer.map(offer),
        owner: held.owner,
        is_leased: held.lease_ms > 0,
    })
}

fn params(wish: wire::Wish) -> SubscriptionParams {
    SubscriptionParams {
        paused: wish.paused,
        max_height: wish.max_height,
        priority: wish.priority,
    }
}

/// Converts a track. `None` if another control plane created it.
fn published(node: &NodeId, track: wire::Track) -> Option<Published> {
    let kind = match track.kind() {
        wire::Kind::Audio => Kind::Audio,
        wire::Kind::Video => Kind::Video,
        wire::Kind::Unspecified => return None,
    };
    let layer = |layer: wire::Layer| Layer {
        rid: layer.rid,
        height: layer.height,
    };
    let source = TrackAnnotation::decode(&track.annotation).map(|annotation| annotation.source);
    Some(Published {
        mid: track.mid,
        track: Track {
            track: track.track.parse().ok()?,
            kind,
            source: source.unwrap_or(Source::Other),
            muted: track.muted,
            layers: track.layers.into_iter().map(layer).collect(),
            node: node.clone(),
        },
    })
}

fn offer(offer: wire::Offer) -> Offer {
    let mid_track = |mid: wire::MidTrack| {
        let (mid, track) = (mid.mid, mid.track.parse().ok()?);
        Some(MidTrack { mid, track })
    };
    Offer {
        revision: offer.revision,
        sdp: offer.sdp,
        tracks: offer.mids.into_iter().filter_map(mid_track).collect(),
    }
}

/// Converts an event. `None` if rooms do not need it, or if its ids have another format.
pub fn event(event: wire::event::Event) -> Option<NodeEvent> {
    use wire::event::Event;
    Some(match event {
        Event::Hello(_) => return None,
        Event::Connected(connected) => NodeEvent::Connected {
            session: connected.session.parse().ok()?,
            shard: connected.shard,
        },
        Event::Closed(closed) => {
            tracing::debug!(session = %closed.session, reason = %closed.reason, "session closed");
            NodeEvent::Closed {
                session: closed.session.parse().ok()?,
                failure: some(closed.failure),
            }
        }
        Event::Offer(offered) => NodeEvent::Offer {
            session: offered.session.parse().ok()?,
            offer: offer(offered),
        },
        Event::Layer(layer) => NodeEvent::Layer {
            session: layer.session.parse().ok()?,
            track: layer.track.parse().ok()?,
            rid: layer.rid,
            is_active: layer.active,
            reason: some(layer.reason),
        },
        Event::Levels(report) => {
            let level = |level: wire::TrackLevel| Some((level.track.parse().ok()?, level.dbov));
            NodeEvent::Levels {
                shard: report.shard,
                levels: report.levels.into_iter().filter_map(level).collect(),
            }
        }
    })
}

/// In the schema, an empty text means absent.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Half, ParticipantId};

    #[test]
    fn what_is_written_is_read_back_and_what_is_foreign_is_left_out() {
        let (node, participant): (NodeId, _) = ("n".parse().unwrap(), ParticipantId::random());
        let track = Track {
            track: TrackId::random(),
            kind: Kind::Video,
            source: Source::Screen,
            muted: true,
            layers: vec![Layer {
                rid: "q".to_owned(),
                height: 180,
            }],
            node: node.clone(),
        };
        let ours = Published {
            mid: "3".to_owned(),
            track,
        };
        let mut foreign = wire::Track::from(ours.clone());
        foreign.track = "camera".to_owned();
        let subscribed = wire::Subscription {
            track: "camera".to_owned(),
            ..Default::default()
        };
        let id = participant.session(Half::Publish, Generation(2));
        let held = wire::Session {
            session: id.to_string(),
            shard: Some(1),
            connected: false,
            tracks: vec![ours.clone().into(), foreign],
            subscriptions: vec![subscribed],
            lease_ms: 1,
            ..Default::default()
        };
        let read = session(&node, held.clone()).unwrap();
        assert_eq!((read.session, read.tracks), (id, vec![ours]));
        assert_eq!((read.connected_shard, read.is_leased), (None, true));
        assert_eq!((read.subscriptions, read.annotation), (vec![], None));
        let foreign = wire::Session {
            session: "room:p".to_owned(),
            ..held
        };
        assert_eq!(session(&node, foreign), None);
        let closed = wire::SessionClosed {
            session: "room:p".to_owned(),
            ..Default::default()
        };
        assert_eq!(event(wire::event::Event::Closed(closed)), None);
    }
}
