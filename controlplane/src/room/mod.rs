//! One room on one signaling node, without sockets, store, data plane or clock.
//!
//! Feed it what happens (`handle_*`), then drain [`Room::poll_output`] before the next; when nothing
//! happens until [`Room::poll_timeout`], call [`Room::handle_timeout`]. Events become true when they
//! come back from the store ([`Room::handle_entry`]), so that every node sees the same order.
//!
//! Requests come here from [`crate::signaling::Session`], permitted and within limits.

mod annotation; // what the data plane keeps for us
mod event; // participants, tracks, events
mod lane; // one session's commands in order
mod media; // data plane lost, back, or rediscovered
mod member; // a participant of this node
mod negotiate; // jobs to commands, replies to consequences
mod output; // what a room wants done
mod presence; // coming, coming back, leaving
mod report; // what the admin API shows
mod request; // what clients ask
mod roster; // the history, folded
mod speakers; // who is heard
mod subscribe; // who is subscribed to what
mod takeover; // who moves between nodes, and histories that start over

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use annotation::{SessionAnnotation, TrackAnnotation};
pub use event::{Kind, Layer, LeaveReason, Participant, RoomEvent, Source, Track};
pub use media::NodeEvent;
pub use output::{Output, SocketId, Then};
pub use report::{MemberReport, RoomReport};
pub use roster::Roster;
pub use speakers::Speakers;
pub use takeover::sessions_of;

use lane::{Lane, ReplyTo};
use member::{Attachment, Member};

use crate::auth::Keys;
use crate::config::SignalingLimits;
use crate::ids::{Epoch, ParticipantId, RoomName, SessionId, TrackId};
use crate::signaling::{CloseCode, Frame, JoinRequest, MediaState, Mode, Refusal, ServerMessage};
use crate::store::{Append, Change, Entry, Missed, StoreError};
use crate::turn::Issuer;

/// What every room of a node has in common.
#[derive(Debug)]
pub struct RoomConfig {
    /// Signs resume keys.
    pub keys: Arc<Keys>,
    /// What a room and a participant may have.
    pub limits: SignalingLimits,
    /// Hands out what opens the relay, where there is one.
    pub turn: Option<Issuer>,
    /// Other nodes serve the same rooms: what this one does not know may be theirs.
    pub is_shared: bool,
}

/// Whether there is a data plane, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// There is, or nothing else is known.
    Up,
    /// It died.
    Lost,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    config: Arc<RoomConfig>,
    epoch: Epoch,
    roster: Roster,
    member_by_id: BTreeMap<ParticipantId, Member>,
    participant_by_socket: HashMap<SocketId, ParticipantId>,
    lane_by_session: BTreeMap<SessionId, Lane>,
    speakers: Speakers,
    media: Media,
    outputs: VecDeque<Output>,
}

impl Room {
    /// A room as the store has it, without participants of this node.
    pub fn new(
        name: RoomName,
        config: Arc<RoomConfig>,
        (epoch, roster): (Epoch, Roster),
        media: Media,
    ) -> Self {
        let mut room = Self {
            name,
            config,
            epoch,
            roster,
            member_by_id: BTreeMap::new(),
            participant_by_socket: HashMap::new(),
            lane_by_session: BTreeMap::new(),
            speakers: Speakers::default(),
            media,
            outputs: VecDeque::new(),
        };
        let tracks = room.roster.participants().flat_map(|p| &p.tracks);
        let heard: Vec<_> = tracks.map(|track| track.track.clone()).collect();
        for track in heard {
            room.outputs.push_back(Output::Hear { track, here: true });
        }
        room
    }

    /// The history this room follows.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Number of the last event handed in.
    pub fn offset(&self) -> u64 {
        self.roster.offset()
    }

    /// Participants of this node.
    pub fn member_ids(&self) -> Vec<ParticipantId> {
        self.member_by_id.keys().cloned().collect()
    }

    /// How many they are.
    pub fn members(&self) -> usize {
        self.member_by_id.len()
    }

    /// Whether this node has nothing to do for the room.
    pub fn is_idle(&self) -> bool {
        self.member_by_id.is_empty() && self.lane_by_session.is_empty()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A participant whose token was found good; `missed` is the history since its resume point.
    pub fn handle_join(
        &mut self,
        socket: SocketId,
        join: JoinRequest,
        missed: Missed,
        now: Instant,
    ) {
        let back = join.resume.as_ref().and_then(|resume| {
            let member = self.member_by_id.get(&resume.participant)?;
            (member.identity == join.identity).then(|| member.participant.clone())
        });
        match back {
            Some(participant) => self.resume((socket, &participant), join, missed, now),
            None => self.join(socket, join, now),
        }
    }

    /// The socket is gone; its participant has the grace time to come back.
    pub fn handle_socket_gone(&mut self, socket: SocketId, now: Instant) {
        let Some(participant) = self.participant_by_socket.remove(&socket) else {
            return;
        };
        if let Some(member) = self.member_by_id.get_mut(&participant) {
            member.attachment = Attachment::Away {
                until: now + self.config.limits.grace,
            };
        }
    }

    /// The store's next event; there are no gaps.
    pub fn handle_entry(&mut self, entry: &Entry, now: Instant) {
        let before = self.tracks_of(&entry.event);
        self.roster.apply(entry.offset, &entry.event);
        let after = self.tracks_of(&entry.event);
        let gone = before.iter().filter(|track| !after.contains(track));
        let come = after.iter().filter(|track| !before.contains(track));
        for (track, here) in gone.map(|t| (t, false)).chain(come.map(|t| (t, true))) {
            let track = track.clone();
            self.outputs.push_back(Output::Hear { track, here });
        }
        self.fan_out(entry);
        if let RoomEvent::ParticipantLeft {
            participant,
            reason,
            ..
        } = &entry.event
        {
            self.forget(participant, *reason, now);
        }
        self.subscribe_members(&entry.event, now);
    }

    /// The outcome of [`Output::Append`].
    pub fn handle_appended(&mut self, then: Then, result: Result<u64, StoreError>, now: Instant) {
        match (then, result) {
            (Then::Nothing, _) => {}
            (Then::Left(participant), Err(StoreError::NotOurs(_))) => {
                self.handle_taken(&participant)
            }
            // Without the store it is tried again after another grace time.
            (Then::Left(_), _) => {}
            (Then::Reply { socket, frame, .. }, Ok(_)) => self.reply(socket, frame),
            (Then::Reply { socket, id, .. }, Err(error)) => {
                let refusal =
                    Refusal::new(crate::signaling::ErrorCode::Internal, error.to_string());
                self.reply(socket, Some(Frame::refusal(id, &refusal)));
            }
            (
                Then::Joined {
                    participant,
                    id,
                    unix_s,
                },
                Ok(_),
            ) => self.welcome(&participant, Mode::New, (id, unix_s), &[], now),
            (Then::Joined { participant, .. }, Err(_)) => {
                if let Some(member) = self.member_by_id.get(&participant)
                    && let Some(socket) = member.any_socket()
                {
                    let (code, reason) = (CloseCode::GoingAway, "the store does not answer");
                    self.outputs.push_back(Output::Close {
                        socket,
                        code,
                        reason,
                    });
                }
                self.forget(&participant, LeaveReason::Removed, now);
            }
        }
    }

    /// When [`Room::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let away = self
            .member_by_id
            .values()
            .filter_map(|m| match m.attachment {
                Attachment::Entering(_) | Attachment::Attached(_) => None,
                Attachment::Away { until } => Some(until),
            });
        let reoffer = self
            .member_by_id
            .values()
            .filter_map(|m| m.publish.reoffer_until);
        let lanes = self.lane_by_session.values().filter_map(Lane::poll_timeout);
        away.chain(reoffer).chain(lanes).min()
    }

    /// Time passed until `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |m: &&Member| matches!(m.attachment, Attachment::Away { until } if until <= now);
        let gone = self.member_by_id.values().filter(late);
        let gone: Vec<_> = gone.map(|m| m.participant.clone()).collect();
        for participant in gone {
            self.time_out(&participant, now);
        }
        self.unpublish_silent(now);
        let sessions: Vec<_> = self.lane_by_session.keys().cloned().collect();
        for session in sessions {
            self.advance(&session, now);
        }
    }

    /// Somebody's node died with them: they leave, on behalf of that node.
    pub fn handle_absent(&mut self, participant: &Participant) {
        let here = self.member_by_id.contains_key(&participant.participant);
        if !here && self.roster.participant(&participant.participant).is_some() {
            let append = Append {
                event: timed_out(participant),
                to: None,
                change: Change::RemoveAbsent(participant.participant.clone()),
            };
            let then = Then::Nothing;
            self.outputs.push_back(Output::Append { append, then });
        }
    }

    /// The socket stayed away too long; unless another node serves the participant by now.
    fn time_out(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(known) = self.roster.participant(participant) else {
            return self.forget(participant, LeaveReason::Timeout, now);
        };
        let append = Append {
            event: timed_out(known),
            to: None,
            change: Change::RemoveOurs(participant.clone()),
        };
        let then = Then::Left(participant.clone());
        self.outputs.push_back(Output::Append { append, then });
        if let Some(member) = self.member_by_id.get_mut(participant) {
            let until = now + self.config.limits.grace;
            member.attachment = Attachment::Away { until };
        }
    }

    fn append(&mut self, event: RoomEvent, to: Option<Vec<crate::ids::Identity>>, then: Then) {
        let change = match &event {
            RoomEvent::ParticipantLeft { participant, .. } => Change::Remove(participant.clone()),
            event => self
                .changed_after_queued(event)
                .map_or(Change::None, Change::Put),
        };
        let append = Append { event, to, change };
        self.outputs.push_back(Output::Append { append, then });
    }

    /// What `event` makes of its participant once everything before it in the queue is done.
    fn changed_after_queued(&self, event: &RoomEvent) -> Option<Participant> {
        let mut roster = None;
        for output in &self.outputs {
            if let Output::Append { append, .. } = output {
                let roster = roster.get_or_insert_with(|| self.roster.clone());
                roster.apply(0, &append.event);
            }
        }
        roster.as_ref().unwrap_or(&self.roster).changed(event)
    }

    fn fan_out(&mut self, entry: &Entry) {
        let frame = event_frame(entry, None);
        let Some(to) = &entry.to else {
            return self.outputs.push_back(Output::Tell { frame });
        };
        let private = Frame::of(&ServerMessage::Event {
            offset: entry.offset,
            event: &RoomEvent::Private,
        });
        for member in self.member_by_id.values() {
            let Some(socket) = member.socket() else {
                continue;
            };
            let is_meant = to.contains(&member.identity);
            let frame = if is_meant { &frame } else { &private }.clone();
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    fn reply(&mut self, socket: SocketId, frame: Option<Frame>) {
        if let Some(frame) = frame {
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    fn refuse(&mut self, to: ReplyTo, refusal: &Refusal) {
        self.reply(to.socket, Some(Frame::refusal(to.id, refusal)));
    }

    fn tracks_of(&self, event: &RoomEvent) -> Vec<TrackId> {
        let id = match event {
            RoomEvent::ParticipantJoined { participant } => &participant.participant,
            RoomEvent::ParticipantLeft { participant, .. }
            | RoomEvent::TrackPublished { participant, .. }
            | RoomEvent::TrackUnpublished { participant, .. } => participant,
            RoomEvent::TrackMuted { .. } | RoomEvent::Message { .. } | RoomEvent::Private => {
                return Vec::new();
            }
        };
        let tracks = self
            .roster
            .participant(id)
            .into_iter()
            .flat_map(|p| &p.tracks);
        tracks.map(|track| track.track.clone()).collect()
    }
}

fn timed_out(participant: &Participant) -> RoomEvent {
    RoomEvent::ParticipantLeft {
        participant: participant.participant.clone(),
        identity: participant.identity.clone(),
        reason: LeaveReason::Timeout,
    }
}

fn event_frame(entry: &Entry, reader: Option<&crate::ids::Identity>) -> Frame {
    let offset = entry.offset;
    let event = match (&entry.to, reader) {
        (Some(to), Some(reader)) if !to.contains(reader) => &RoomEvent::Private,
        (Some(_) | None, _) => &entry.event,
    };
    Frame::of(&ServerMessage::Event { offset, event })
}

fn media_frame(state: MediaState) -> Frame {
    Frame::of(&ServerMessage::Media { state })
}
