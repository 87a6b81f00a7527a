//! From jobs to commands of the data plane, and from their results to what follows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::annotation::TrackAnnotation;
use super::lane::{InFlight, Job, ReplyTo};
use super::member::{Member, Published};
use super::request::unknown_track;
use super::{Media, Output, Room, Then, media_frame};
use crate::history::{Kind, RoomEvent, Track};
use crate::ids::{Half, ParticipantId, SessionId, TrackId};
use crate::node::{Call, Done, NodeError};
use crate::signaling::{
    ErrorCode, Frame, MediaState, MidTrack, Offer, OfferedTrack, Refusal, ServerMessage,
};
use spillway_wire::dataplane as wire;

/// Before a command of our own that failed is sent again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A command, or the reason why there is none.
type Prepared = Result<Option<(Call, InFlight)>, (ReplyTo, Refusal)>;

impl Room {
    /// The result of [`Output::Call`].
    pub fn handle_replied(
        &mut self,
        session: &SessionId,
        result: Result<Done, NodeError>,
        now: Instant,
    ) {
        let lane = self.lane_by_session.get_mut(session);
        let Some(in_flight) = lane.and_then(|lane| lane.in_flight.take()) else {
            return;
        };
        let Some((participant, _)) = SessionId::parse(session.as_str()) else {
            return;
        };
        match in_flight {
            InFlight::Offer { to, tracks } => match result {
                Ok(Done::Answer { sdp, tracks: can }) => {
                    let tracks = playable(tracks, &can);
                    self.published(to, &participant, tracks, &sdp);
                }
                Ok(Done::Nothing) => {
                    let refusal =
                        Refusal::new(ErrorCode::Internal, "the data plane gave no answer");
                    self.refuse(to, &refusal);
                }
                Err(error) => self.refuse(to, &refusal(error, ErrorCode::BadSdp)),
            },
            InFlight::Answer { to, revision } => match result {
                Ok(_) => self.answered(to, &participant, revision),
                Err(error) => self.refuse(to, &refusal(error, ErrorCode::BadSdp)),
            },
            InFlight::Candidate { to } => match result {
                Ok(_) => self.reply(to.socket, Frame::ok(to.id)),
                Err(error) => self.refuse(to, &refusal(error, ErrorCode::BadCandidate)),
            },
            InFlight::Annotate => {}
            InFlight::Create | InFlight::Subscribe { .. } | InFlight::Close { .. } => {
                self.own_replied(session, &participant, (in_flight, result), now);
            }
        }
        self.advance(session, now);
    }

    /// Starts the session's next command, if there is one and none is on its way.
    pub(super) fn advance(&mut self, session: &SessionId, now: Instant) {
        let Some((participant, half)) = SessionId::parse(session.as_str()) else {
            return;
        };
        while let Some(lane) = self.lane_by_session.get_mut(session) {
            if lane.is_done() {
                self.lane_by_session.remove(session);
                return;
            }
            let Some(job) = lane.take(now) else {
                return;
            };
            match self.prepare(session, (&participant, half), job, now) {
                Ok(None) => {}
                Ok(Some((call, in_flight))) => {
                    if let Some(lane) = self.lane_by_session.get_mut(session) {
                        lane.in_flight = Some(in_flight);
                    }
                    let session = session.clone();
                    self.outputs.push_back(Output::Call { session, call });
                    return;
                }
                Err((to, refusal)) => self.refuse(to, &refusal),
            }
        }
    }

    /// A job of our own: it does not count against the lane's bound.
    pub(super) fn push_own(
        &mut self,
        participant: &ParticipantId,
        half: Half,
        job: Job,
        now: Instant,
    ) {
        let session = participant.session(half);
        if let Some(lane) = self.lane_by_session.get_mut(&session) {
            let pushed = lane.push(job);
            debug_assert!(pushed, "jobs of our own are never refused");
        }
        self.advance(&session, now);
    }

    fn prepare(
        &mut self,
        session: &SessionId,
        (participant, half): (&ParticipantId, Half),
        job: Job,
        now: Instant,
    ) -> Prepared {
        let id = session.as_str().to_owned();
        if let Job::Close { reason } = job {
            let request = wire::CloseSessionRequest {
                session: id,
                reason: reason.to_owned(),
            };
            return Ok(Some((
                Call::CloseSession(request),
                InFlight::Close { reason },
            )));
        }
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return Ok(None);
        };
        match job {
            Job::Offer { to, offer } => self.prepare_offer(to, participant, offer, now),
            Job::Answer { to, revision, sdp } => {
                let outstanding = member.subscribe.outstanding.as_ref().map(|o| o.revision);
                if outstanding != Some(revision) {
                    let now = outstanding.map_or("none".to_owned(), |r| format!("revision {r}"));
                    let said = format!("answer to revision {revision}, outstanding is {now}");
                    return Err((to, Refusal::new(ErrorCode::StaleAnswer, said)));
                }
                let request = wire::PutAnswerRequest {
                    session: id,
                    revision,
                    answer_sdp: sdp,
                };
                Ok(Some((
                    Call::PutAnswer(request),
                    InFlight::Answer { to, revision },
                )))
            }
            Job::Candidate { to, candidate } => {
                let known = match half {
                    Half::Publish => member.publish.established,
                    Half::Subscribe => member.subscribe.established,
                };
                if !known {
                    let said = "this peer connection has no session yet";
                    return Err((to, Refusal::new(ErrorCode::BadCandidate, said)));
                }
                let request = wire::AddCandidateRequest {
                    session: id,
                    candidate,
                };
                Ok(Some((
                    Call::AddCandidate(request),
                    InFlight::Candidate { to },
                )))
            }
            Job::Annotate { track } => Ok(annotate(member, id, &track)),
            Job::Create => {
                let annotation = member.annotation(&self.name);
                let owner = self.config.owner.clone();
                Ok(Some(create(id, annotation, owner)))
            }
            Job::Subscribe => Ok(self.prepare_subscriptions(id, participant, now)),
            Job::Close { .. } => Ok(None),
        }
    }

    fn prepare_offer(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        offer: Offer,
        now: Instant,
    ) -> Prepared {
        let refuse = |code, said: String| Err((to, Refusal::new(code, said)));
        if self.media == Media::Lost {
            let said = "the media server is being restarted".to_owned();
            return refuse(ErrorCode::MediaUnavailable, said);
        }
        let limit = self.config.limits.tracks;
        if offer.tracks.len() > limit {
            let said = format!(
                "offer names {} tracks, the limit is {limit}",
                offer.tracks.len()
            );
            return refuse(ErrorCode::TooManyTracks, said);
        }
        let Some(member) = self.member_by_id.get(participant) else {
            return Ok(None);
        };
        let mut tracks = BTreeMap::new();
        for offered in offer.tracks {
            let named = offered.track.clone();
            let published = publication(member, offered).map_err(|refusal| (to, refusal))?;
            let id = published.track.track.clone();
            if tracks.insert(id, published).is_some() {
                let said = format!(
                    "offer names track '{}' twice",
                    named.map_or(String::new(), |t| t.to_string())
                );
                return refuse(ErrorCode::BadMessage, said);
            }
        }
        let changes = changes(&member.publish.track_by_id, &tracks, participant);
        let (identity, annotation) = (member.identity.clone(), member.annotation(&self.name));
        let cost = self.cost_of_offer(&changes);
        let charged = self.charge_identity(&identity, cost, now);
        charged.map_err(|refusal| (to, refusal))?;
        let request = wire::PutPublishRequest {
            session: participant.session(Half::Publish).as_str().to_owned(),
            offer_sdp: offer.sdp,
            tracks: tracks.values().map(wire_track).collect(),
            annotation,
            owner: self.config.owner.clone(),
        };
        Ok(Some((
            Call::PutPublish(request),
            InFlight::Offer { to, tracks },
        )))
    }

    /// The data plane took the offer: what changed becomes the room's history.
    fn published(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        tracks: BTreeMap<TrackId, Published>,
        sdp: &str,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let publish = &mut member.publish;
        publish.established = true;
        publish.reoffer_until = None;
        let old = std::mem::replace(&mut publish.track_by_id, tracks.clone());
        let mut events = changes(&old, &tracks, participant);
        let mid_track = |published: &Published| MidTrack {
            mid: published.mid.clone(),
            track: published.track.track.clone(),
        };
        let named: Vec<_> = tracks.values().map(mid_track).collect();
        let (id, tracks) = (to.id, &named[..]);
        let answer = Frame::of(&ServerMessage::Answer { id, sdp, tracks });
        let Some(last) = events.pop() else {
            return self.reply(to.socket, Some(answer));
        };
        for event in events {
            self.append(event, None, Then::Nothing);
        }
        let then = Then::Reply {
            socket: to.socket,
            id: to.id,
            frame: Some(answer),
        };
        self.append(last, None, then);
    }

    fn answered(&mut self, to: ReplyTo, participant: &ParticipantId, revision: u64) {
        if let Some(member) = self.member_by_id.get_mut(participant) {
            let outstanding = &mut member.subscribe.outstanding;
            if outstanding.as_ref().is_some_and(|o| o.revision == revision) {
                *outstanding = None;
            }
        }
        self.reply(to.socket, Frame::ok(to.id));
    }

    /// There is no session for the participant: it is told once, and it is tried on.
    fn node_is_full(&mut self, participant: &ParticipantId) {
        let member = self.member_by_id.get_mut(participant);
        let Some((member, socket)) = member.and_then(|m| m.socket().map(|socket| (m, socket)))
        else {
            return;
        };
        if !std::mem::replace(&mut member.subscribe.is_refused, true) {
            let frame = media_frame(MediaState::Lost, Some(NODE_FULL));
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    /// The result of a command no client waits for.
    fn own_replied(
        &mut self,
        session: &SessionId,
        participant: &ParticipantId,
        (in_flight, result): (InFlight, Result<Done, NodeError>),
        now: Instant,
    ) {
        let mut again = None;
        match (in_flight, &result) {
            (InFlight::Create, Ok(_)) => {
                if let Some(member) = self.member_by_id.get_mut(participant) {
                    member.subscribe.established = true;
                    if std::mem::take(&mut member.subscribe.is_refused) {
                        self.media_ready(participant, now);
                    }
                }
                self.push_subscriptions(participant, now);
            }
            (InFlight::Create, Err(error)) => {
                again = Some(Job::Create);
                if let NodeError::Full(_) = error {
                    self.node_is_full(participant);
                }
            }
            (InFlight::Subscribe { .. }, Ok(_)) => self.push_subscriptions(participant, now),
            (InFlight::Subscribe { tracks }, Err(error)) => {
                let member = self.member_by_id.get_mut(participant);
                if let Some(subscribe) = member.map(|member| &mut member.subscribe) {
                    subscribe.known.extend(tracks.iter().cloned());
                    subscribe.dirty.extend(tracks);
                    again = Some(Job::Subscribe);
                    if matches!(error, NodeError::NoSession(_)) {
                        subscribe.lose();
                        again = Some(Job::Create);
                    }
                }
            }
            (InFlight::Close { reason }, Err(_)) => again = Some(Job::Close { reason }),
            (InFlight::Close { .. }, Ok(_)) => {}
            (
                InFlight::Offer { .. }
                | InFlight::Answer { .. }
                | InFlight::Candidate { .. }
                | InFlight::Annotate,
                _,
            ) => {}
        }
        if let Some((job, lane)) = again.zip(self.lane_by_session.get_mut(session))
            && (!lane.closing || matches!(job, Job::Close { .. }))
        {
            lane.again(job, RETRY_PAUSE, now);
            self.wake(participant, now + RETRY_PAUSE);
        }
    }
}

/// Why a participant of a full node has no media.
const NODE_FULL: &str = "node_full";

/// Of `tracks` those that the data plane negotiated, with the layers that the answer has: what cannot play is not announced.
fn playable(
    mut tracks: BTreeMap<TrackId, Published>,
    negotiated: &[wire::PublishedTrack],
) -> BTreeMap<TrackId, Published> {
    let rids = |track: &wire::PublishedTrack| Some((track.track.parse().ok()?, track.rids.clone()));
    let rids_by_track: BTreeMap<TrackId, Vec<String>> =
        negotiated.iter().filter_map(rids).collect();
    tracks.retain(|id, published| {
        let rids = rids_by_track.get(id);
        let layers = &mut published.track.layers;
        layers.retain(|layer| rids.is_some_and(|rids| rids.contains(&layer.rid)));
        rids.is_some()
    });
    tracks
}

/// What becomes different for the room when `participant` publishes `new` instead of `old`.
fn changes(
    old: &BTreeMap<TrackId, Published>,
    new: &BTreeMap<TrackId, Published>,
    participant: &ParticipantId,
) -> Vec<RoomEvent> {
    let mut events = Vec::new();
    for track in old.keys().filter(|track| !new.contains_key(track)) {
        events.push(RoomEvent::TrackUnpublished {
            participant: participant.clone(),
            track: track.clone(),
        });
    }
    for (id, published) in new {
        let track = &published.track;
        match old.get(id).map(|old| &old.track) {
            Some(old) if old == track => {}
            Some(old)
                if Track {
                    muted: track.muted,
                    ..old.clone()
                } == *track =>
            {
                events.push(RoomEvent::TrackMuted {
                    participant: participant.clone(),
                    track: id.clone(),
                    muted: track.muted,
                });
            }
            Some(_) | None => events.push(RoomEvent::TrackPublished {
                participant: participant.clone(),
                track: track.clone(),
            }),
        }
    }
    events
}

/// The m-line as a track: one the participant has already, or a new one.
fn publication(member: &Member, offered: OfferedTrack) -> Result<Published, Refusal> {
    let of_member = &member.publish.track_by_id;
    let known = match &offered.track {
        Some(named) => Some(of_member.get(named).ok_or_else(|| unknown_track(named))?),
        None => of_member.values().find(|old| {
            let same = (&old.mid, old.track.kind, old.track.source);
            same == (&offered.mid, offered.kind, offered.source)
        }),
    };
    if let Some(old) = known
        && old.track.kind != offered.kind
    {
        let said = format!("track '{}' does not change its kind", old.track.track);
        return Err(Refusal::new(ErrorCode::BadMessage, said));
    }
    let id = known.map_or_else(TrackId::random, |old| old.track.track.clone());
    Ok(Published {
        mid: offered.mid,
        track: Track {
            track: id,
            kind: offered.kind,
            source: offered.source,
            muted: offered.muted,
            layers: offered.layers,
        },
    })
}

fn create(session: String, annotation: Vec<u8>, owner: String) -> (Call, InFlight) {
    let request = wire::PutSubscribeRequest {
        session,
        annotation,
        owner,
    };
    (Call::PutSubscribe(request), InFlight::Create)
}

fn annotate(member: &Member, session: String, track: &TrackId) -> Option<(Call, InFlight)> {
    let published = &member.publish.track_by_id.get(track)?.track;
    let request = wire::AnnotateRequest {
        session,
        track: track.to_string(),
        annotation: TrackAnnotation::new(published.source).encode(),
        muted: Some(published.muted),
    };
    let known = member.publish.established;
    known.then_some((Call::Annotate(request), InFlight::Annotate))
}

pub(super) fn wire_kind(kind: Kind) -> wire::Kind {
    match kind {
        Kind::Audio => wire::Kind::Audio,
        Kind::Video => wire::Kind::Video,
    }
}

fn wire_track(published: &Published) -> wire::Track {
    let track = &published.track;
    let layer = |layer: &crate::history::Layer| wire::Layer {
        rid: layer.rid.clone(),
        height: layer.height,
    };
    wire::Track {
        track: track.track.to_string(),
        mid: published.mid.clone(),
        kind: wire_kind(track.kind).into(),
        layers: track.layers.iter().map(layer).collect(),
        annotation: TrackAnnotation::new(track.source).encode(),
        muted: track.muted,
    }
}

/// The data plane's error in the words of the protocol; `invalid` names a refused argument.
fn refusal(error: NodeError, invalid: ErrorCode) -> Refusal {
    let code = match &error {
        NodeError::Unavailable(_) | NodeError::NoSession(_) => ErrorCode::MediaUnavailable,
        NodeError::Full(_) => ErrorCode::NodeFull,
        NodeError::Invalid(_) => invalid,
        NodeError::Stale(_) => ErrorCode::StaleAnswer,
        NodeError::Unsupported(_) | NodeError::Internal(_) => ErrorCode::Internal,
    };
    Refusal::new(code, error.to_string())
}
