//! One room on one signaling server, without sockets, store, data plane or clock.
//!
//! Feed it what happens (`handle_*`), then drain [`Room::poll_output`] before the next; when nothing
//! happens until [`Room::poll_timeout`], call [`Room::handle_timeout`]. Events become true when they
//! come back from the store ([`Room::handle_entry`]), so that every server sees the same order.
//!
//! Requests come here from [`crate::signaling::Session`], permitted and within limits.

mod adopt; // whose sessions are there without a server
mod annotation; // what the data plane keeps for us
mod budget; // what an identity may cause
mod charge; // what each request costs
mod lane; // one session's commands in order
mod media; // data plane lost, back, or rediscovered
mod member; // a participant of this server
mod negotiate; // jobs to commands, replies to consequences
mod output; // what a room wants done
mod leave; // going, and being gone
mod presence; // coming, and coming back
mod report; // what the admin API shows
mod request; // what clients ask
mod speakers; // who is heard
mod subscribe; // who is subscribed to what
mod takeover; // who move between servers, and histories that start over

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use annotation::{SessionAnnotation, TrackAnnotation};
pub use media::NodeEvent;
pub use output::{Output, SocketId, Then};
pub use report::{MemberReport, RoomReport};
pub use speakers::Speakers;
pub use takeover::sessions_of;

use budget::Budget;
use lane::{Lane, ReplyTo};
use member::{Attachment, Member};

use crate::auth::Keys;
use crate::config::SignalingLimits;
use crate::history::{
    Append, Change, Entry, Ephemeral, LeaveReason, Missed, Participant, RoomEvent, Roster,
};
use crate::ids::{Epoch, Half, Identity, ParticipantId, RoomName, SessionId, TrackId};
use crate::limits::budget::EVENT_BYTES;
use crate::signaling::{
    CloseCode, ErrorCode, Frame, JoinRequest, MediaState, Mode, Refusal, ServerMessage,
};
use crate::store::StoreError;
use crate::turn::Issuer;

/// What every room of a server has in common.
#[derive(Debug)]
pub struct RoomConfig {
    /// Signs resume keys.
    pub keys: Arc<Keys>,
    /// What a room and a participant may have.
    pub limits: SignalingLimits,
    /// Hands out what opens the relay, where there is one.
    pub turn: Option<Issuer>,
    /// Other servers serve the same rooms: what this one does not know may be theirs.
    pub is_shared: bool,
    /// Whose lease keeps the sessions of this server's participants.
    pub owner: String,
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
    /// Those of this server, hidden ones too.
    member_by_identity: HashMap<Identity, ParticipantId>,
    /// How many of them are hidden.
    hidden: usize,
    participant_by_socket: HashMap<SocketId, ParticipantId>,
    lane_by_session: BTreeMap<SessionId, Lane>,
    speakers: Speakers,
    media: Media,
    budget: Budget,
    /// Bytes of the latest events, on average.
    event_bytes: f64,
    /// When to look at a participant again; looking too often does no harm.
    timers: BTreeSet<(Instant, ParticipantId)>,
    /// What participants are once the events that wait in `outputs` are appended.
    queued_by_id: HashMap<ParticipantId, Queued>,
    outputs: VecDeque<Output>,
}

/// A participant with events in the queue.
#[derive(Debug)]
struct Queued {
    events: usize,
    becomes: Option<Participant>,
}

impl Room {
    /// A room as the store has it, without participants of this server.
    pub fn new(
        name: RoomName,
        config: Arc<RoomConfig>,
        (epoch, roster): (Epoch, Roster),
        media: Media,
        now: Instant,
    ) -> Self {
        let budget = Budget::new(config.limits.messages_per_second, now);
        let mut room = Self {
            name,
            config,
            epoch,
            roster,
            member_by_id: BTreeMap::new(),
            member_by_identity: HashMap::new(),
            hidden: 0,
            participant_by_socket: HashMap::new(),
            lane_by_session: BTreeMap::new(),
            speakers: Speakers::default(),
            media,
            budget,
            event_bytes: EVENT_BYTES as f64,
            timers: BTreeSet::new(),
            queued_by_id: HashMap::new(),
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

    /// Participants of this server.
    pub fn member_ids(&self) -> Vec<ParticipantId> {
        self.member_by_id.keys().cloned().collect()
    }

    /// How many they are.
    pub fn members(&self) -> usize {
        self.member_by_id.len()
    }

    /// Whether this server has nothing to do for the room, and nobody would gain by its starting over.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.is_empty() && self.budget.lingers_until(now).is_none()
    }

    fn is_empty(&self) -> bool {
        self.member_by_id.is_empty() && self.lane_by_session.is_empty()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if let Some(Output::Append { append, .. }) = &output
            && let Some(id) = append.event.participant()
            && let Some(queued) = self.queued_by_id.get_mut(id)
        {
            queued.events -= 1;
            if queued.events == 0 {
                self.queued_by_id.remove(id);
            }
        }
        output
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
            let until = now + self.config.limits.grace;
            member.attachment = Attachment::Away { until };
            self.wake(&participant, until);
        }
    }

    /// The store's next event; there are no gaps.
    pub fn handle_entry(&mut self, entry: &Entry, now: Instant) {
        let before = self.tracks_of(&entry.event);
        self.roster.apply(entry.offset, &entry.event);
        let after = self.tracks_of(&entry.event);
        for track in after.difference(&before) {
            let (track, here) = (track.clone(), true);
            self.outputs.push_back(Output::Hear { track, here });
        }
        let gone: Vec<_> = before.difference(&after).cloned().collect();
        for track in &gone {
            let (track, here) = (track.clone(), false);
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
        self.subscribe_members(&entry.event, &gone, now);
    }

    /// A message that is no part of the history.
    pub fn handle_ephemeral(&mut self, message: &Ephemeral) {
        let frame = ephemeral_frame(message);
        let Some(to) = &message.to else {
            return self.outputs.push_back(Output::Tell { frame });
        };
        for socket in self.sockets_of(to) {
            let frame = frame.clone();
            self.outputs.push_back(Output::Send { socket, frame });
        }
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
            (Then::Absent(participant), Ok(_)) => {
                self.close_sessions(&participant, "its server is gone", now);
            }
            (Then::Absent(_), Err(_)) => {} // it is looked for again
            (Then::Reply { socket, frame, .. }, Ok(_)) => self.reply(socket, frame),
            (Then::Confirm { socket, id }, Ok(_)) => self.reply(socket, Frame::ok(id)),
            (Then::Reply { socket, id, .. } | Then::Confirm { socket, id }, Err(error)) => {
                let code = match error {
                    StoreError::Unavailable(_) => ErrorCode::StoreUnavailable,
                    StoreError::NoRoom(_) | StoreError::Broken(_) | StoreError::NotOurs(_) => {
                        ErrorCode::Internal
                    }
                };
                let refusal = Refusal::new(code, error.to_string());
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
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let first = self.timers.first().map(|(at, _)| *at);
        if self.is_empty() {
            return self
                .budget
                .lingers_until(now)
                .into_iter()
                .chain(first)
                .min();
        }
        first
    }

    /// Time passed until `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due = BTreeSet::new();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.timers.pop_first().map(|(_, participant)| participant));
        }
        for participant in due {
            self.look_at(&participant, now);
        }
    }

    /// [`Room::handle_timeout`] looks at `participant` then.
    fn wake(&mut self, participant: &ParticipantId, at: Instant) {
        self.timers.insert((at, participant.clone()));
    }

    fn look_at(&mut self, participant: &ParticipantId, now: Instant) {
        let is_late =
            |m: &Member| matches!(m.attachment, Attachment::Away { until } if until <= now);
        let member = self.member_by_id.get(participant);
        if member.is_some_and(is_late) {
            self.time_out(participant, now);
        }
        self.end_unauthorized(participant, now);
        self.unpublish_silent(participant, now);
        for half in [Half::Publish, Half::Subscribe] {
            self.advance(&participant.session(half), now);
        }
        self.push_subscriptions(participant, now);
    }

    fn append(&mut self, event: RoomEvent, to: Option<Vec<crate::ids::Identity>>, then: Then) {
        let change = match &event {
            RoomEvent::ParticipantLeft { participant, .. } => Change::Remove(participant.clone()),
            event => self
                .changed_after_queued(event)
                .map_or(Change::None, Change::Put),
        };
        self.queue(&event);
        let append = Append { event, to, change };
        self.outputs.push_back(Output::Append { append, then });
    }

    /// What `event` makes of its participant once everything before it in the queue is done.
    fn changed_after_queued(&self, event: &RoomEvent) -> Option<Participant> {
        let id = event.participant()?;
        let before = match self.queued_by_id.get(id) {
            Some(queued) => queued.becomes.as_ref(),
            None => self.roster.participant(id),
        };
        event.applied_to(before)
    }

    fn queue(&mut self, event: &RoomEvent) {
        let Some(id) = event.participant() else {
            return;
        };
        let becomes = match event {
            RoomEvent::ParticipantLeft { .. } => None,
            event => self.changed_after_queued(event),
        };
        let queued = self.queued_by_id.entry(id.clone());
        let queued = queued.or_insert(Queued {
            events: 0,
            becomes: None,
        });
        queued.events += 1;
        queued.becomes = becomes;
    }

    /// Sockets of those of this server who are told that they are in, each once.
    fn sockets_of(&self, identities: &[Identity]) -> BTreeSet<SocketId> {
        let socket = |identity| {
            let id = self.member_by_identity.get(identity)?;
            self.member_by_id.get(id)?.socket()
        };
        identities.iter().filter_map(socket).collect()
    }

    fn fan_out(&mut self, entry: &Entry) {
        let frame = event_frame(entry, None);
        self.weigh(frame.wire.len());
        let Some(to) = &entry.to else {
            return self.outputs.push_back(Output::Tell { frame });
        };
        let private = Frame::of(&ServerMessage::Event {
            offset: entry.offset,
            event: &RoomEvent::Private,
        });
        let sockets = self.sockets_of(to);
        self.outputs.push_back(Output::Whisper {
            sockets: sockets.into_iter().collect(),
            frame,
            private,
        });
    }

    fn reply(&mut self, socket: SocketId, frame: Option<Frame>) {
        if let Some(frame) = frame {
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    fn refuse(&mut self, to: ReplyTo, refusal: &Refusal) {
        self.reply(to.socket, Some(Frame::refusal(to.id, refusal)));
    }

    fn tracks_of(&self, event: &RoomEvent) -> BTreeSet<TrackId> {
        let of_tracks = !matches!(event, RoomEvent::TrackMuted { .. });
        let id = event.participant().filter(|_| of_tracks);
        let participant = id.and_then(|id| self.roster.participant(id));
        let tracks = participant.into_iter().flat_map(|p| &p.tracks);
        tracks.map(|track| track.track.clone()).collect()
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

fn ephemeral_frame(message: &Ephemeral) -> Frame {
    Frame::of(&ServerMessage::Message {
        participant: &message.participant,
        identity: &message.identity,
        topic: &message.topic,
        payload: &message.payload,
    })
}

fn media_frame(state: MediaState, reason: Option<&str>) -> Frame {
    Frame::of(&ServerMessage::Media { state, reason })
}
