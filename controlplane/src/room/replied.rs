//! Handles the results of commands to nodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::publication::{changes, playable};
use super::session::{InFlight, Job, ReplyTo, State};
use super::{ErrorCode, MediaState, Notice, Output, Refusal, Room, Then};
use crate::fleet::{Done, MidTrack, NodeError, Published};
use crate::ids::{ParticipantId, SessionId, TrackId};

/// Pause before a failed command without a waiting client is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reason of a `media` notice while the participant's node has no capacity.
const NODE_FULL: &str = "node_full";

impl Room {
    /// The result of [`Output::Call`].
    pub fn handle_replied(
        &mut self,
        id: &SessionId,
        result: Result<Done, NodeError>,
        now: Instant,
    ) {
        let session = self.session_by_id.get_mut(id);
        let Some(in_flight) = session.and_then(|session| session.replied()) else {
            return;
        };
        match in_flight {
            InFlight::Offer { to, tracks } => match result {
                Ok(Done::Answer { sdp, tracks: can }) => {
                    self.published(to, id, playable(tracks, can), sdp);
                }
                Ok(Done::Nothing) => {
                    let said = "the node gave no answer";
                    self.refuse(to, Refusal::new(ErrorCode::Internal, said));
                }
                Err(error) => self.refuse(to, refusal(&error, ErrorCode::BadSdp)),
            },
            InFlight::Answer { to, revision } => match result {
                Ok(_) => {
                    if let Some(session) = self.session_by_id.get_mut(id) {
                        session.answered(revision);
                    }
                    self.reply(to.socket, Notice::ok(to.id));
                }
                Err(error) => self.refuse(to, refusal(&error, ErrorCode::BadSdp)),
            },
            InFlight::Candidate { to } => match result {
                Ok(_) => self.reply(to.socket, Notice::ok(to.id)),
                Err(error) => self.refuse(to, refusal(&error, ErrorCode::BadCandidate)),
            },
            InFlight::Mute => {}
            InFlight::Create
            | InFlight::Subscribe { .. }
            | InFlight::Close { .. }
            | InFlight::Earlier { .. } => {
                self.own_replied(id, (in_flight, result), now);
            }
        }
        self.advance(id, now);
    }

    /// The node accepted the offer: track changes become events of the history.
    fn published(
        &mut self,
        to: ReplyTo,
        id: &SessionId,
        tracks: BTreeMap<TrackId, Published>,
        sdp: String,
    ) {
        let participant = &id.participant;
        let (Some(member), Some(session)) = (
            self.member_by_id.get_mut(participant),
            self.session_by_id.get_mut(id),
        ) else {
            return;
        };
        if !session.is_established() {
            session.state = State::NEW;
        }
        let old = std::mem::replace(&mut member.track_by_id, tracks.clone());
        let mut events = changes(&old, &tracks, participant);
        let mid_track = |published: Published| MidTrack {
            mid: published.mid,
            track: published.track.track,
        };
        let answer = Notice::Answer {
            id: to.id,
            sdp,
            tracks: tracks.into_values().map(mid_track).collect(),
        };
        let Some(last) = events.pop() else {
            return self.reply(to.socket, Some(answer));
        };
        for event in events {
            self.append(event, None, Then::Nothing);
        }
        let then = Then::Reply {
            socket: to.socket,
            id: to.id,
            notice: Some(answer),
        };
        self.append(last, None, then);
    }

    /// The node has no capacity for the session. The client is told once; the command is repeated.
    fn node_is_full(&mut self, id: &SessionId) {
        let member = self.member_by_id.get(&id.participant);
        let socket = member.and_then(|member| member.socket());
        let session = self.session_by_id.get_mut(id);
        let (Some(socket), Some(session)) = (socket, session) else {
            return;
        };
        if session.state == State::Absent {
            session.state = State::Refused;
            let notice = Notice::media(MediaState::Lost, Some(NODE_FULL));
            self.outputs.push_back(Output::Send { socket, notice });
        }
    }

    /// The node has created the subscribe session.
    fn created(&mut self, id: &SessionId, now: Instant) {
        let participant: &ParticipantId = &id.participant;
        let was_refused = match self.session_by_id.get_mut(id) {
            Some(session) if !session.is_established() && !session.is_ending() => {
                let before = std::mem::replace(&mut session.state, State::NEW);
                before == State::Refused
            }
            Some(_) | None => false,
        };
        if was_refused {
            self.media_ready(participant, now);
        }
        self.push_subscriptions(participant, now);
    }

    /// Handles the result of a command that no client waits for.
    fn own_replied(
        &mut self,
        id: &SessionId,
        (in_flight, result): (InFlight, Result<Done, NodeError>),
        now: Instant,
    ) {
        let mut again = None;
        match (in_flight, &result) {
            (InFlight::Create, Ok(_)) => self.created(id, now),
            (InFlight::Create, Err(error)) => {
                again = Some(Job::Create);
                if let NodeError::Full(_) = error {
                    self.node_is_full(id);
                }
            }
            (InFlight::Subscribe { .. }, Ok(_)) => self.push_subscriptions(&id.participant, now),
            (InFlight::Subscribe { tracks }, Err(error)) => {
                if let Some(member) = self.member_by_id.get_mut(&id.participant) {
                    let subscriptions = &mut member.subscriptions;
                    subscriptions.known.extend(tracks.iter().cloned());
                    subscriptions.dirty.extend(tracks);
                    again = Some(Job::Subscribe);
                    if matches!(error, NodeError::NoSession(_)) {
                        subscriptions.lose();
                        again = Some(Job::Create);
                    }
                }
            }
            (InFlight::Earlier { tracks }, _) => {
                if let Some(member) = self.member_by_id.get_mut(&id.participant) {
                    let subscriptions = &mut member.subscriptions;
                    subscriptions.known.extend(tracks.iter().cloned());
                    subscriptions.dirty.extend(tracks);
                }
                self.push_subscriptions(&id.participant, now);
            }
            (InFlight::Close { reason }, Err(_)) => again = Some(Job::Close { reason }),
            (InFlight::Close { .. }, Ok(_)) => {}
            (
                InFlight::Offer { .. }
                | InFlight::Answer { .. }
                | InFlight::Candidate { .. }
                | InFlight::Mute,
                _,
            ) => {}
        }
        if let Some((job, session)) = again.zip(self.session_by_id.get_mut(id))
            && (!session.is_ending() || session.is_closing() && matches!(job, Job::Close { .. }))
        {
            if job == Job::Create && session.is_established() {
                session.state = State::Absent;
            }
            session.retry(job, RETRY_PAUSE, now);
            self.wake(&id.participant, now + RETRY_PAUSE);
        }
    }
}

/// Converts a node's error into an error of the protocol. `invalid` is the code for a refused
/// argument.
fn refusal(error: &NodeError, invalid: ErrorCode) -> Refusal {
    let code = match error {
        NodeError::Unavailable(_) | NodeError::NoSession(_) => ErrorCode::MediaUnavailable,
        NodeError::Full(_) => ErrorCode::NodeFull,
        NodeError::Invalid(_) => invalid,
        NodeError::Stale(_) => ErrorCode::StaleAnswer,
        NodeError::Unsupported(_) | NodeError::Internal(_) => ErrorCode::Internal,
    };
    Refusal::new(code, error.to_string())
}
