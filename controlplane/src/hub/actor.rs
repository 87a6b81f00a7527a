//! The state of a room and its sockets, without I/O: inputs go in, effects come out.
//!
//! Contract: call [`Actor::handle`], then drain [`Actor::poll_effect`]. The result of an effect
//! comes back as an [`Answer`]. Answers of [`Effect::Append`] must come in the order of the
//! effects, other answers in any order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use spillway_mutants::{Mutant, is_planted};

use super::audience::Audience;
use super::effect::{Answer, Effect, Input, JoinReads, ReadAgain, Time};
use super::input::RoomInput;
use crate::fleet::HeldSession;
use crate::history::{Entry, Missed, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, SessionId, TrackId};
use crate::limits::JOINING_REQUESTS;
use crate::room::{
    CloseCode, ErrorCode, JoinRequest, NodeSync, Notice, Output, ReadForJoin, Refusal, Request,
    Room, SocketId, Then,
};
use crate::store::{Appended, RoomUpdate, Stored};

/// One room with its sockets. Owned by the task of the room.
pub struct Actor {
    room: Room,
    audience: Audience,
    /// Appends without an offset, in order. The store has not answered them.
    appends_in_flight: VecDeque<Continuation>,
    /// Appends with an offset whose event has not come back from the store, in order.
    awaited_entries: VecDeque<AwaitedEntry>,
    joining_by_socket: HashMap<SocketId, JoinInProgress>,
    is_reading_again: bool,
    effects: VecDeque<Effect>,
}

/// What follows an append.
#[derive(Debug)]
struct Continuation {
    /// The participant that the event changes.
    participant: Option<ParticipantId>,
    then: Then,
}

#[derive(Debug)]
struct AwaitedEntry {
    epoch: Epoch,
    offset: u64,
    stored: Stored,
    continuation: Continuation,
}

/// A join that waits for its reads.
#[derive(Debug)]
struct JoinInProgress {
    request: JoinRequest,
    node: Option<NodeId>,
    /// Events that came during the reads.
    later: Vec<Arc<Entry>>,
    /// Requests that came during the reads.
    requests: VecDeque<(Option<u32>, Request)>,
}

impl Actor {
    /// An actor of `room`, without sockets.
    pub fn new(room: Room) -> Self {
        let mut actor = Self {
            room,
            audience: Audience::default(),
            appends_in_flight: VecDeque::new(),
            awaited_entries: VecDeque::new(),
            joining_by_socket: HashMap::new(),
            is_reading_again: false,
            effects: VecDeque::new(),
        };
        actor.drain_room(None);
        actor
    }

    /// Handles an input. Broadcasts to sockets leave with [`Actor::flush`].
    pub fn handle(&mut self, input: Input, time: Time) {
        let now = time.now;
        match input {
            Input::Room(input) => self.handle_room_input(input, time),
            Input::Update(updates) => self.handle_update(updates, now),
            Input::Answer(answer) => self.handle_answer(answer, time),
            Input::Presence => {
                let members = self.room.member_ids();
                self.effects.push_back(Effect::Presence(members));
            }
            Input::Timeout => self.room.handle_timeout(now),
        }
        self.drain_room(Some(now));
    }

    /// The next effect for the task.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Time by which the task must call [`Actor::handle`] with [`Input::Timeout`], and
    /// [`Actor::flush`].
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let room = self.room.poll_timeout(now);
        let audience = self.audience.poll_timeout(now);
        room.into_iter().chain(audience).min()
    }

    /// Sends buffered broadcasts whose time has come.
    pub fn flush(&mut self, now: Instant) {
        self.audience.handle_timeout(now);
    }

    /// True if the room has no work, now or later, unless another input comes.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.room.is_idle(now)
            && self.appends_in_flight.is_empty()
            && self.awaited_entries.is_empty()
            && self.joining_by_socket.is_empty()
            && !self.is_reading_again
            && self.effects.is_empty()
    }

    /// Participants and tracks, as this server knows them, with the epoch of the history.
    pub fn roster(&self) -> (&Epoch, &Roster) {
        (self.room.epoch(), self.room.roster())
    }

    /// Number of appends that the store has not answered.
    pub fn appends_in_flight(&self) -> usize {
        self.appends_in_flight.len()
    }

    /// Number of participants that this server serves.
    pub fn members(&self) -> usize {
        self.room.members()
    }

    /// Tracks whose audio levels go to this room.
    pub fn tracks(&self) -> Vec<TrackId> {
        self.room.tracks()
    }

    /// Sessions of this server's participants, by node.
    pub fn sessions_by_node(&self) -> BTreeMap<NodeId, Vec<SessionId>> {
        self.room.sessions_by_node()
    }

    fn handle_room_input(&mut self, input: RoomInput, time: Time) {
        let now = time.now;
        match input {
            RoomInput::Join {
                socket,
                outbox,
                request,
                node,
            } => {
                self.audience.enter(socket, outbox);
                self.join(socket, request, node, now);
            }
            RoomInput::Request {
                socket,
                id,
                request,
            } => self.request(socket, id, request, time),
            RoomInput::SocketGone(socket) => {
                self.joining_by_socket.remove(&socket);
                self.audience.leave(socket);
                self.room.handle_socket_gone(socket, now);
            }
            RoomInput::Replied(session, result) => self.room.handle_replied(&session, result, now),
            RoomInput::Node(node, event) => self.room.handle_node_event(&node, event, now),
            RoomInput::NodeLost(node) => self.room.handle_node_lost(&node, now),
            RoomInput::NodeSynced {
                node,
                sessions,
                asked,
                turn_urls,
            } => {
                let synced = NodeSync {
                    sessions,
                    asked,
                    turn_urls,
                };
                self.room.handle_node_synced(&node, synced, now);
            }
            RoomInput::Report(sender) => {
                // The caller may have given up.
                let _ = sender.send(self.room.report());
            }
        }
    }

    fn join(&mut self, socket: SocketId, request: JoinRequest, node: Option<NodeId>, now: Instant) {
        if !self.room.charge_join(socket, &request, now) {
            return;
        }
        let resume = request.resume.as_ref();
        let seen = resume.and_then(|resume| resume.seen.clone());
        let claimed = self.room.sessions_on_other_server(&request);
        if seen.is_none() && claimed.is_none() {
            let read = ReadForJoin {
                missed: Missed::TooOld,
                sessions: Vec::new(),
                node,
            };
            return self.room.handle_join(socket, request, read, now);
        }
        self.effects.push_back(Effect::ReadForJoin(JoinReads {
            socket,
            seen,
            claimed,
        }));
        let joining = JoinInProgress {
            request,
            node,
            later: Vec::new(),
            requests: VecDeque::new(),
        };
        self.joining_by_socket.insert(socket, joining);
    }

    fn request(&mut self, socket: SocketId, id: Option<u32>, request: Request, time: Time) {
        let Some(joining) = self.joining_by_socket.get_mut(&socket) else {
            let time = (time.now, time.unix_s);
            return self.room.handle_request(socket, id, request, time);
        };
        if joining.requests.len() < JOINING_REQUESTS {
            return joining.requests.push_back((id, request));
        }
        let said = format!("{JOINING_REQUESTS} requests wait for the answer to join");
        let refusal = Refusal::new(ErrorCode::TooFast, said);
        self.audience.send(socket, &Notice::Refused { id, refusal });
    }

    /// Handles the next event of the store; `None`: the reader ended. After a gap or an end the
    /// history is read again.
    fn handle_update(&mut self, updates: Option<RoomUpdate>, now: Instant) {
        match updates {
            Some(RoomUpdate::Entry(entry)) if entry.offset == self.room.offset() + 1 => {
                self.handle_entry(&entry, now);
            }
            Some(RoomUpdate::Entry(entry)) if entry.offset <= self.room.offset() => {}
            Some(RoomUpdate::Message(message)) => self.room.handle_ephemeral(&message),
            Some(RoomUpdate::Taken(participant)) => self.room.handle_taken(&participant),
            Some(RoomUpdate::Entry(_)) | None if self.is_reading_again => {}
            Some(RoomUpdate::Entry(_)) | None => {
                self.is_reading_again = true;
                self.effects.push_back(Effect::ReadAgain {
                    epoch: self.room.epoch().clone(),
                    offset: self.room.offset(),
                });
            }
        }
    }

    fn handle_entry(&mut self, entry: &Arc<Entry>, now: Instant) {
        self.room.handle_entry(entry, now);
        let joining = self.joining_by_socket.values_mut();
        for joining in joining.filter(|_| !is_planted(Mutant::EventDuringResumeLost)) {
            joining.later.push(Arc::clone(entry));
        }
        self.continue_appends(now);
    }

    /// Continues after appends whose events have come back.
    fn continue_appends(&mut self, now: Instant) {
        while let Some(first) = self.awaited_entries.front() {
            if first.epoch == *self.room.epoch() && first.offset > self.room.offset() {
                return;
            }
            let Some(AwaitedEntry {
                offset,
                stored,
                continuation,
                ..
            }) = self.awaited_entries.pop_front()
            else {
                return;
            };
            self.room.handle_applied(continuation.participant.as_ref());
            match (continuation.then, stored) {
                (then @ Then::Confirm { .. }, Stored::Later(stored)) => {
                    self.effects.push_back(Effect::Await {
                        stored,
                        offset,
                        then,
                    });
                }
                (then, _) => {
                    // Notices that the event caused go out before the continuation, such as the
                    // reply.
                    self.drain_room(Some(now));
                    self.room.handle_appended(then, Ok(offset), now);
                }
            }
        }
    }

    fn handle_answer(&mut self, answer: Answer, time: Time) {
        let now = time.now;
        match answer {
            Answer::Appended(appended) => {
                let Some(continuation) = self.appends_in_flight.pop_front() else {
                    return;
                };
                match appended {
                    Ok(Appended { offset, stored }) => {
                        let epoch = self.room.epoch().clone();
                        self.awaited_entries.push_back(AwaitedEntry {
                            epoch,
                            offset,
                            stored,
                            continuation,
                        });
                        self.continue_appends(now);
                    }
                    Err(error) => {
                        self.room.handle_applied(continuation.participant.as_ref());
                        self.room
                            .handle_appended(continuation.then, Err(error), now);
                    }
                }
            }
            Answer::Stored(then, result) => self.room.handle_appended(then, result, now),
            Answer::ReadForJoin {
                socket,
                missed,
                sessions,
                unclaimed,
            } => {
                self.handle_read_for_join(socket, missed, sessions, time);
                if let Some(participant) = unclaimed {
                    self.claim_again(participant);
                }
            }
            Answer::Claimed {
                participant,
                is_done,
            } => {
                if !is_done {
                    self.claim_again(participant);
                }
            }
            Answer::ReadAgain(again) => self.handle_read_again(again, time),
            Answer::Absent(absent) => {
                for participant in absent {
                    self.room.handle_absent(&participant);
                }
            }
        }
    }

    fn handle_read_again(&mut self, again: ReadAgain, time: Time) {
        let now = time.now;
        self.is_reading_again = false;
        match again {
            ReadAgain::Entries(entries) => {
                for entry in entries {
                    if entry.offset == self.room.offset() + 1 {
                        self.handle_entry(&entry, now);
                    }
                }
            }
            ReadAgain::Restarted {
                epoch,
                roster,
                missed,
            } => {
                let time = (now, time.unix_s);
                self.room.handle_restarted((epoch, roster), &missed, time);
                self.continue_appends(now);
            }
        }
    }

    fn handle_read_for_join(
        &mut self,
        socket: SocketId,
        missed: Missed,
        sessions: Option<Vec<HeldSession>>,
        time: Time,
    ) {
        // The socket may have closed meanwhile.
        let Some(joining) = self.joining_by_socket.remove(&socket) else {
            return;
        };
        let Some(sessions) = sessions else {
            // Another server may reach the node, and the media may still flow.
            if let Some(outbox) = self.audience.leave(socket) {
                outbox.end((CloseCode::GoingAway, "the media server does not answer"));
            }
            return;
        };
        let missed = match missed {
            Missed::Entries(mut entries) => {
                let seen = entries.last().map_or(0, |last| last.offset);
                let later = joining.later.into_iter();
                entries.extend(later.filter(|entry| entry.offset > seen));
                Missed::Entries(entries)
            }
            Missed::TooOld => Missed::TooOld,
        };
        let read = ReadForJoin {
            missed,
            sessions,
            node: joining.node,
        };
        self.room
            .handle_join(socket, joining.request, read, time.now);
        for (id, request) in joining.requests {
            self.drain_room(Some(time.now));
            let time = (time.now, time.unix_s);
            self.room.handle_request(socket, id, request, time);
        }
    }

    /// The store does not know that this server took over the participant: the previous server would remove it after the
    /// grace time. A participant that moved on is another server's.
    fn claim_again(&mut self, participant: ParticipantId) {
        if self.room.is_member(&participant) {
            self.effects.push_back(Effect::Claim(participant));
        }
    }

    /// Turns all outputs of the room into effects and messages.
    fn drain_room(&mut self, now: Option<Instant>) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Send { socket, notice } => self.audience.send(socket, &notice),
                Output::Broadcast { notice } => self.audience.broadcast(&notice),
                Output::SendPrivate {
                    sockets,
                    notice,
                    withheld,
                } => {
                    // A new room has no sockets.
                    if let Some(now) = now {
                        self.audience
                            .send_private(&sockets, (&notice, &withheld), now);
                    }
                }
                Output::Close {
                    socket,
                    code,
                    reason,
                } => {
                    if let Some(outbox) = self.audience.leave(socket) {
                        outbox.end((code, reason));
                    }
                }
                Output::Append { append, then } => {
                    let participant = append.event.participant().cloned();
                    self.appends_in_flight
                        .push_back(Continuation { participant, then });
                    self.effects.push_back(Effect::Append(append));
                }
                Output::Publish { message } => self.effects.push_back(Effect::Publish(message)),
                Output::Call {
                    node,
                    session,
                    command,
                } => self.effects.push_back(Effect::Call {
                    node,
                    session,
                    command,
                }),
                Output::TakeLease { node, sessions } => {
                    self.effects.push_back(Effect::TakeLease { node, sessions });
                }
                Output::RouteEvents { participant, here } => {
                    self.effects
                        .push_back(Effect::RouteEvents { participant, here });
                }
                Output::RouteLevels { track, here } => {
                    self.effects.push_back(Effect::RouteLevels { track, here });
                }
            }
        }
    }
}
