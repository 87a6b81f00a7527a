//! One room on one signaling server, without sockets, store, data plane or clock.
//!
//! Contract: call `handle_*` for each input, then drain [`Room::poll_output`] before the next
//! input. At the time of [`Room::poll_timeout`] call [`Room::handle_timeout`]. Events take effect
//! when they come back from the store ([`Room::handle_entry`]), so that every server sees the same
//! order.
//!
//! Requests come from [`crate::signaling::Session`], which has checked grants and limits.

mod config; // what a room gets from its server
mod request; // types of requests
mod permit; // checks the grants of a request
mod notice; // messages to clients
mod refusal; // error and close codes
mod output; // outputs for the driver
mod member; // a participant with its socket on this server
mod session; // one session: its state and its queue of jobs
mod presence; // joins and resumes
mod leave; // leaves and timeouts
mod takeover; // participants that move between servers; histories that start over
mod restore; // participants whose sessions exist on a node, after a restart of this server
mod handle_request; // handles requests of clients
mod subscribe; // subscriptions
mod publication; // track changes of an offer
mod negotiate; // turns jobs of a session into commands
mod replied; // handles results of commands
mod media; // handles events of nodes
mod speakers; // active speakers
mod budget; // budgets of identities and rooms (token buckets)
mod charge; // cost of requests
mod report; // view of a room for the admin API

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use config::{Media, NodeFacts, NodeFactsById, NodeSync, ReadForJoin, RoomConfig};
pub use notice::{Joined, JoinedLimits, MediaState, Mode, Notice, Speaker};
pub use output::{Output, Sessions, SocketId, Then};
pub use permit::NotPermitted;
pub use refusal::{CloseCode, ErrorCode, Refusal};
pub use report::{MemberReport, RoomReport};
pub use request::{JoinRequest, OfferedTrack, Persistence, PublishOffer, Request, ResumePoint};
pub use speakers::Speakers;

use budget::Budget;
use member::{Attachment, Member};
use session::{ReplyTo, Session};

use crate::history::{
    Append, Change, Entry, Ephemeral, LeaveReason, Participant, RoomEvent, Roster,
};
use crate::ids::{
    Epoch, Generation, Half, Identity, NodeId, ParticipantId, RoomName, SessionId, TrackId,
};
use crate::limits::budget::EVENT_BYTES;
use crate::store::StoreError;

/// Reason for closing a session whose participant is unknown.
const ORPHANED: &str = "no server has this session";

/// One room on one server.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    config: Arc<RoomConfig>,
    epoch: Epoch,
    roster: Roster,
    member_by_id: BTreeMap<ParticipantId, Member>,
    /// Members, including hidden ones.
    member_by_identity: HashMap<Identity, ParticipantId>,
    /// Number of hidden members.
    hidden: usize,
    participant_by_socket: HashMap<SocketId, ParticipantId>,
    session_by_id: BTreeMap<SessionId, Session>,
    speakers: Speakers,
    facts_by_node: NodeFactsById,
    budget: Budget,
    /// Mean size of the latest events, in bytes.
    event_bytes: f64,
    /// Times at which a participant is checked. An extra check does no harm.
    timers: BTreeSet<(Instant, ParticipantId)>,
    /// Participants with events that the store has not returned yet.
    queued_by_id: HashMap<ParticipantId, Queued>,
    outputs: VecDeque<Output>,
}

/// A participant with events that the store has not returned yet: their number, and the participant
/// after them.
#[derive(Debug)]
struct Queued {
    events: usize,
    becomes: Option<Participant>,
}

impl Room {
    /// A room with the state of the store, without members.
    pub fn new(
        name: RoomName,
        config: Arc<RoomConfig>,
        (epoch, roster): (Epoch, Roster),
        facts_by_node: NodeFactsById,
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
            session_by_id: BTreeMap::new(),
            speakers: Speakers::default(),
            facts_by_node,
            budget,
            event_bytes: EVENT_BYTES as f64,
            timers: BTreeSet::new(),
            queued_by_id: HashMap::new(),
            outputs: VecDeque::new(),
        };
        for track in room.tracks() {
            room.outputs
                .push_back(Output::RouteLevels { track, here: true });
        }
        room
    }

    /// Epoch of the history that the room follows.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Offset of the last event that was handled.
    pub fn offset(&self) -> u64 {
        self.roster.offset()
    }

    /// Participants and tracks after the last event that was handled.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Ids of the members.
    pub fn member_ids(&self) -> Vec<ParticipantId> {
        self.member_by_id.keys().cloned().collect()
    }

    /// True if this server serves the participant.
    pub fn is_member(&self, participant: &ParticipantId) -> bool {
        self.member_by_id.contains_key(participant)
    }

    /// Number of members on this server.
    pub fn members(&self) -> usize {
        self.member_by_id.len()
    }

    /// True if the room can be dropped: it has no members and no sessions, and its accounts are
    /// full.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.is_empty() && self.budget.needed_until(now).is_none()
    }

    fn is_empty(&self) -> bool {
        self.member_by_id.is_empty() && self.session_by_id.is_empty()
    }

    /// The next output for the driver.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The store returned or lost an event of this room that changes `participant`.
    pub fn handle_applied(&mut self, participant: Option<&ParticipantId>) {
        if let Some(id) = participant
            && let Some(queued) = self.queued_by_id.get_mut(id)
        {
            queued.events -= 1;
            if queued.events == 0 {
                self.queued_by_id.remove(id);
            }
        }
    }

    /// Sessions that may have commands in flight, by node.
    pub fn sessions_by_node(&self) -> BTreeMap<NodeId, Vec<SessionId>> {
        let mut by_node: BTreeMap<NodeId, Vec<SessionId>> = BTreeMap::new();
        for (id, session) in &self.session_by_id {
            by_node
                .entry(session.node.clone())
                .or_default()
                .push(id.clone());
        }
        by_node
    }

    /// Tracks whose audio levels go to the room.
    pub fn tracks(&self) -> Vec<TrackId> {
        let tracks = self.roster.participants().flat_map(|p| &p.tracks);
        tracks.map(|track| track.track.clone()).collect()
    }

    /// Handles a join whose token is valid.
    pub fn handle_join(
        &mut self,
        socket: SocketId,
        join: JoinRequest,
        read: ReadForJoin,
        now: Instant,
    ) {
        let back = join.resume.as_ref().and_then(|resume| {
            let member = self.member_by_id.get(&resume.participant)?;
            (member.identity == join.identity).then(|| member.participant.clone())
        });
        if let Some(participant) = back {
            self.resume((socket, &participant), join, read.missed, now);
        } else if let Some(sessions) = self.sessions_on_other_server(&join) {
            self.take_over(socket, &sessions, join, read, now);
        } else {
            self.join(socket, join, read.node, now);
        }
    }

    /// A socket closed. Its participant has the grace time to resume.
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

    /// Handles the next event from the store. Offsets have no gaps.
    pub fn handle_entry(&mut self, entry: &Arc<Entry>, now: Instant) {
        let before = self.tracks_of(&entry.event);
        self.roster.apply(entry.offset, &entry.event);
        let after = self.tracks_of(&entry.event);
        let come: Vec<_> = after.difference(&before).cloned().collect();
        for track in &come {
            let (track, here) = (track.clone(), true);
            self.outputs.push_back(Output::RouteLevels { track, here });
        }
        let gone: Vec<_> = before.difference(&after).cloned().collect();
        for track in &gone {
            let (track, here) = (track.clone(), false);
            self.outputs.push_back(Output::RouteLevels { track, here });
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
        self.subscribe_members(&entry.event, (&come, &gone), now);
    }

    /// Handles a message outside the history.
    pub fn handle_ephemeral(&mut self, message: &Arc<Ephemeral>) {
        let notice = Notice::Message(Arc::clone(message));
        let Some(to) = &message.to else {
            return self.outputs.push_back(Output::Broadcast { notice });
        };
        for socket in self.sockets_of(to) {
            let notice = notice.clone();
            self.outputs.push_back(Output::Send { socket, notice });
        }
    }

    /// Handles the result of [`Output::Append`].
    pub fn handle_appended(&mut self, then: Then, result: Result<u64, StoreError>, now: Instant) {
        match (then, result) {
            (Then::Nothing, _) => {}
            (Then::Left(participant), Err(StoreError::NotOurs(_))) => {
                self.handle_taken(&participant)
            }
            // If the store is unavailable, it is repeated after another grace time.
            (Then::Left(_), _) => {}
            (Then::Absent(sessions), Ok(_)) => {
                self.close_sessions(&sessions, "its server is gone", now);
            }
            (Then::Absent(_), Err(_)) => {} // it is checked again later
            (Then::Reply { socket, notice, .. }, Ok(_)) => self.reply(socket, notice),
            (Then::Confirm { socket, id }, Ok(_)) => self.reply(socket, Notice::ok(id)),
            (Then::Reply { socket, id, .. } | Then::Confirm { socket, id }, Err(error)) => {
                let code = match error {
                    StoreError::Unavailable(_) => ErrorCode::StoreUnavailable,
                    StoreError::NoRoom(_) | StoreError::Broken(_) | StoreError::NotOurs(_) => {
                        ErrorCode::Internal
                    }
                };
                let refusal = Refusal::new(code, error.to_string());
                self.reply(socket, Some(Notice::refused(id, refusal)));
            }
            (
                Then::Joined {
                    participant,
                    id,
                    unix_s,
                },
                Ok(_),
            ) => self.send_joined(&participant, Mode::New, (id, unix_s), &[], now),
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

    /// Time of the next [`Room::handle_timeout`].
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let first = self.timers.first().map(|(at, _)| *at);
        if self.is_empty() {
            return self.budget.needed_until(now).into_iter().chain(first).min();
        }
        first
    }

    /// Handles all timers that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due = BTreeSet::new();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.timers.pop_first().map(|(_, participant)| participant));
        }
        for participant in due {
            self.check_participant(&participant, now);
        }
    }

    /// Sets a timer for `participant`.
    fn wake(&mut self, participant: &ParticipantId, at: Instant) {
        self.timers.insert((at, participant.clone()));
    }

    fn check_participant(&mut self, participant: &ParticipantId, now: Instant) {
        let is_late =
            |m: &Member| matches!(m.attachment, Attachment::Away { until } if until <= now);
        let member = self.member_by_id.get(participant);
        if member.is_some_and(is_late) {
            self.time_out(participant, now);
        }
        self.end_unauthorized(participant, now);
        self.unpublish_silent(participant, now);
        // Sessions of a participant that has left are found by name until they are closed.
        let (first, last) = (Half::Publish, Half::Subscribe);
        let range = participant.session(first, Generation::MIN)
            ..=participant.session(last, Generation::MAX);
        let ids: Vec<_> = self
            .session_by_id
            .range(range)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.advance(&id, now);
        }
        self.push_subscriptions(participant, now);
    }

    fn append(&mut self, event: RoomEvent, to: Option<Vec<Identity>>, then: Then) {
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

    /// The participant after `event` and all earlier events in flight.
    fn changed_after_queued(&self, event: &RoomEvent) -> Option<Participant> {
        event.applied_to(self.expected(event.participant()?))
    }

    /// The participant after all events that the store has not returned yet.
    fn expected(&self, id: &ParticipantId) -> Option<&Participant> {
        match self.queued_by_id.get(id) {
            Some(queued) => queued.becomes.as_ref(),
            None => self.roster.participant(id),
        }
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

    /// Sockets of these identities on this server, after `joined`, without duplicates.
    fn sockets_of(&self, identities: &[Identity]) -> BTreeSet<SocketId> {
        let socket = |identity| {
            let id = self.member_by_identity.get(identity)?;
            self.member_by_id.get(id)?.socket()
        };
        identities.iter().filter_map(socket).collect()
    }

    fn fan_out(&mut self, entry: &Arc<Entry>) {
        self.note_event_bytes(entry.bytes());
        let notice = Notice::Event(Arc::clone(entry));
        let Some(to) = &entry.to else {
            return self.outputs.push_back(Output::Broadcast { notice });
        };
        let sockets = self.sockets_of(to);
        self.outputs.push_back(Output::SendPrivate {
            sockets: sockets.into_iter().collect(),
            notice,
            withheld: Notice::Withheld {
                offset: entry.offset,
            },
        });
    }

    fn reply(&mut self, socket: SocketId, notice: Option<Notice>) {
        if let Some(notice) = notice {
            self.outputs.push_back(Output::Send { socket, notice });
        }
    }

    fn refuse(&mut self, to: ReplyTo, refusal: Refusal) {
        self.reply(to.socket, Some(Notice::refused(to.id, refusal)));
    }

    fn is_established(&self, id: &SessionId) -> bool {
        let session = self.session_by_id.get(id);
        session.is_some_and(|session| session.is_established())
    }

    fn media_of(&self, node: &NodeId) -> Media {
        let facts = self.facts_by_node.get(node);
        facts.map_or(Media::Up, |facts| facts.media)
    }

    fn tracks_of(&self, event: &RoomEvent) -> BTreeSet<TrackId> {
        let of_tracks = !matches!(event, RoomEvent::TrackMuted { .. });
        let id = event.participant().filter(|_| of_tracks);
        let participant = id.and_then(|id| self.roster.participant(id));
        let tracks = participant.into_iter().flat_map(|p| &p.tracks);
        tracks.map(|track| track.track.clone()).collect()
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
