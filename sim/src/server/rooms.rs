//! The rooms of a server: runs their actors, as `hub/task.rs` does with an async runtime.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use spillway_controlplane::fleet::convert;
use spillway_controlplane::history::{Missed, MissedByRestart, Roster};
use spillway_controlplane::hub::{
    Actor, Answer, Effect, Input, JoinReads, NodeSessions, ReadAgain, RoomInput, sessions_of,
    unleased,
};
use spillway_controlplane::ids::{Epoch, NodeId, ParticipantId, RoomName, SessionId};
use spillway_controlplane::limits::PRESENCE_TIME;
use spillway_controlplane::room::{Media, NodeFactsById, Room, RoomConfig};
use spillway_controlplane::store::{Opened, RoomUpdate, StoreError};
use spillway_wire::dataplane as proto;
use tokio::sync::mpsc;

use super::net::{Net, StoreCall, StoreReply, unavailable};
use super::room_task::{Finished, PendingAppend, RoomTask};
use super::state::Server;
use crate::node::NodeCall;

/// Pause before a failed read is repeated.
const STORE_PAUSE: Duration = Duration::from_millis(500);

impl Server {
    /// Gives `input` to a room, which is opened if it is not.
    pub(super) fn send(&mut self, name: &RoomName, input: RoomInput) {
        let now = self.net.now();
        let room = self.rooms.entry(name.clone()).or_insert_with(|| {
            let (net, room) = (Rc::clone(&self.net), name.clone());
            self.tasks.start(async move {
                let opened = net.store(StoreCall::Open(room.clone())).await;
                let opened = opened.and_then(|reply| match reply {
                    StoreReply::Opened(opened) => Ok(opened),
                    _ => Err(unavailable()),
                });
                Finished::Opened(room, opened)
            });
            RoomTask {
                actor: None,
                updates: None,
                waiting: VecDeque::new(),
                appends: VecDeque::new(),
                next_append: 0,
                is_renewing_presence: false,
                presence_at: now,
            }
        });
        if room.actor.is_none() {
            return room.waiting.push_back(input);
        }
        self.handle(name, Input::Room(input));
    }

    /// Does everything that rooms have to do at the present time.
    pub(super) fn run_rooms(&mut self) {
        for finished in self.tasks.poll() {
            self.finish(finished);
        }
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            self.run_room(&name);
        }
    }

    fn run_room(&mut self, name: &RoomName) {
        let now = self.net.now();
        while let Some(update) = self.next_update(name) {
            self.handle(name, Input::Update(update));
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(actor) = &mut room.actor else {
            return;
        };
        let is_presence_due = room.presence_at <= now && !room.is_renewing_presence;
        let timeout = actor.poll_timeout(now.instant());
        if is_presence_due {
            room.presence_at = now + PRESENCE_TIME / 3;
            room.is_renewing_presence = true;
            self.handle(name, Input::Presence);
        }
        if timeout.is_some_and(|at| at <= now.instant()) {
            self.handle(name, Input::Timeout);
        }
        let room = self.rooms.get_mut(name);
        if room.is_some_and(|room| room.is_idle(now)) {
            self.close_room(name);
        }
    }

    /// The next update of the reader; `None` inside: the reader ended.
    fn next_update(&mut self, name: &RoomName) -> Option<Option<RoomUpdate>> {
        let room = self.rooms.get_mut(name)?;
        room.actor.as_ref()?;
        match room.updates.as_mut()?.try_recv() {
            Ok(update) => Some(Some(update)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                room.updates = None;
                Some(None)
            }
        }
    }

    fn close_room(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.remove(name) else {
            return;
        };
        for track in room.actor.iter().flat_map(Actor::tracks) {
            self.routes.route_levels(track, name, false);
        }
        let net = Rc::clone(&self.net);
        let name = name.clone();
        self.tasks.start(async move {
            // A room that cannot be closed stays in the store until the next server closes it.
            let _ = net.store(StoreCall::Close(name)).await;
            Finished::Nothing
        });
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Nothing => {}
            Finished::Input(name, input) => self.send(&name, input),
            Finished::Answer(name, answer) => {
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.is_renewing_presence &= !matches!(answer, Answer::Absent(_));
                    self.handle(&name, Input::Answer(answer));
                }
            }
            Finished::Reopened(name, updates, again) => {
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.updates = Some(updates);
                    self.handle(&name, Input::Answer(Answer::ReadAgain(again)));
                }
            }
            Finished::Appended(name, number, result) => self.appended(&name, number, result),
            Finished::Opened(name, Ok(opened)) => self.opened(&name, *opened),
            Finished::Opened(name, Err(_)) => self.refuse_joins(&name),
        }
    }

    fn opened(&mut self, name: &RoomName, opened: Opened) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let roster = Roster::new(opened.offset, opened.participants);
        let state = Room::new(
            name.clone(),
            Arc::clone(&self.config),
            (opened.epoch, roster),
            self.facts.clone(),
            self.net.now().instant(),
        );
        room.actor = Some(Actor::new(state));
        room.updates = Some(opened.updates);
        let waiting = std::mem::take(&mut room.waiting);
        self.start_effects(name);
        for input in waiting {
            self.handle(name, Input::Room(input));
        }
    }

    /// The store does not answer: clients that wait are sent away.
    fn refuse_joins(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.remove(name) else {
            return;
        };
        for input in room.waiting {
            if let RoomInput::Join { outbox, .. } = input {
                use spillway_controlplane::room::CloseCode;
                outbox.end((CloseCode::GoingAway, "the store does not answer"));
            }
        }
    }

    fn appended(
        &mut self,
        name: &RoomName,
        number: u64,
        result: Result<spillway_controlplane::store::Appended, StoreError>,
    ) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let mut appends = room.appends.iter_mut();
        if let Some(append) = appends.find(|append| append.number == number) {
            append.result = Some(result);
        }
        while let Some(room) = self.rooms.get_mut(name)
            && let Some(first) = room.appends.front_mut()
            && let Some(result) = first.result.take()
        {
            room.appends.pop_front();
            self.handle(name, Input::Answer(Answer::Appended(result)));
        }
    }

    fn handle(&mut self, name: &RoomName, input: Input) {
        let time = self.time();
        if let Some(actor) = self
            .rooms
            .get_mut(name)
            .and_then(|room| room.actor.as_mut())
        {
            actor.handle(input, time);
        }
        self.start_effects(name);
    }

    fn start_effects(&mut self, name: &RoomName) {
        let now = self.net.now().instant();
        loop {
            let room = self.rooms.get_mut(name);
            let Some(actor) = room.and_then(|room| room.actor.as_mut()) else {
                return;
            };
            let Some(effect) = actor.poll_effect() else {
                return actor.flush(now);
            };
            self.start_effect(name, effect);
        }
    }

    fn start_effect(&mut self, name: &RoomName, effect: Effect) {
        let (net, room) = (Rc::clone(&self.net), name.clone());
        match effect {
            Effect::Append(append) => {
                let Some(task) = self.rooms.get_mut(name) else {
                    return;
                };
                task.next_append += 1;
                let number = task.next_append;
                let result = None;
                task.appends.push_back(PendingAppend { number, result });
                let call = net.store(StoreCall::Append(room.clone(), Box::new(append)));
                self.tasks.start(async move {
                    let result = call.await.and_then(|reply| match reply {
                        StoreReply::Appended(appended) => Ok(appended),
                        _ => Err(unavailable()),
                    });
                    Finished::Appended(room, number, result)
                });
            }
            Effect::Await {
                stored,
                offset,
                then,
            } => self.tasks.start(async move {
                let lost = |_| StoreError::Unavailable("the event is lost".into());
                let result = stored.await.map(|()| offset).map_err(lost);
                Finished::Answer(room, Answer::Stored(then, result))
            }),
            Effect::Publish(message) => {
                let call = net.store(StoreCall::Publish(room, message));
                self.tasks.start(async move {
                    // A message outside the history may be lost.
                    let _ = call.await;
                    Finished::Nothing
                });
            }
            Effect::ReadForJoin(reads) => {
                let facts = self.facts.clone();
                self.tasks.start(read_for_join(net, room, reads, facts));
            }
            Effect::Claim(participant) => self.tasks.start(claim_again(net, room, participant)),
            Effect::ReadAgain { epoch, offset } => {
                self.tasks.start(read_again(net, room, epoch, offset));
            }
            Effect::Presence(members) => {
                let (facts, config) = (self.facts.clone(), Arc::clone(&self.config));
                self.tasks
                    .start(absent(net, (room, members), facts, config));
            }
            Effect::Call {
                node,
                session,
                command,
            } => self.tasks.start(async move {
                let result = net.command(node, convert::Request::from(command)).await;
                Finished::Input(room, RoomInput::Replied(session, result))
            }),
            Effect::TakeLease { node, sessions } => self.take_lease(node, &sessions),
            Effect::RouteEvents { participant, here } => {
                self.routes.route_events(participant, name, here);
            }
            Effect::RouteLevels { track, here } => self.routes.route_levels(track, name, here),
        }
    }

    fn take_lease(&mut self, node: NodeId, sessions: &[SessionId]) {
        let net = Rc::clone(&self.net);
        let request = proto::TakeSessionsRequest {
            owner: self.config.owner.clone(),
            sessions: sessions.iter().map(SessionId::to_string).collect(),
        };
        self.tasks.start(async move {
            // After a failure the next read of the node's state shows a wrong owner.
            let _ = net.node(&node, NodeCall::TakeSessions(request)).await;
            Finished::Nothing
        });
    }
}

async fn read_for_join(
    net: Rc<Net>,
    room: RoomName,
    reads: JoinReads,
    facts: NodeFactsById,
) -> Finished {
    let is_lost = |node: &NodeId| {
        facts
            .get(node)
            .is_some_and(|facts| facts.media == Media::Lost)
    };
    let JoinReads {
        socket,
        seen,
        claimed,
    } = reads;
    let missed = match seen {
        Some((epoch, offset)) => match net
            .store(StoreCall::Since(room.clone(), epoch, offset))
            .await
        {
            Ok(StoreReply::Missed(missed)) => missed,
            _ => Missed::TooOld,
        },
        None => Missed::TooOld,
    };
    let (mut sessions, mut unclaimed) = (Some(Vec::new()), None);
    if let Some(claimed) = claimed {
        if !is_lost(&claimed.node) {
            let held = Rc::clone(&net).sessions(claimed.node.clone(), claimed.ids().to_vec());
            sessions = held.await.map(|(_, held)| held).ok();
        }
        let claim = StoreCall::Claim(room.clone(), claimed.participant.clone());
        if sessions.is_some() && net.store(claim).await.is_err() {
            unclaimed = Some(claimed.participant.clone());
        }
    }
    let answer = Answer::ReadForJoin {
        socket,
        missed,
        sessions,
        unclaimed,
    };
    Finished::Answer(room, answer)
}

async fn claim_again(net: Rc<Net>, room: RoomName, participant: ParticipantId) -> Finished {
    net.sleep(STORE_PAUSE).await;
    let claim = StoreCall::Claim(room.clone(), participant.clone());
    let is_done = net.store(claim).await.is_ok();
    let answer = Answer::Claimed {
        participant,
        is_done,
    };
    Finished::Answer(room, answer)
}

async fn read_again(net: Rc<Net>, room: RoomName, epoch: Epoch, offset: u64) -> Finished {
    let opened = loop {
        match net.store(StoreCall::Open(room.clone())).await {
            Ok(StoreReply::Opened(opened)) => break opened,
            _ => net.sleep(STORE_PAUSE).await,
        }
    };
    let since = StoreCall::Since(room.clone(), epoch, offset);
    let again = match net.store(since).await {
        Ok(StoreReply::Missed(Missed::Entries(entries))) => ReadAgain::Entries(entries),
        _ => ReadAgain::Restarted {
            epoch: opened.epoch.clone(),
            roster: Roster::new(opened.offset, opened.participants.clone()),
            missed: MissedByRestart::default(),
        },
    };
    Finished::Reopened(room, opened.updates, again)
}

async fn absent(
    net: Rc<Net>,
    (room, members): (RoomName, Vec<ParticipantId>),
    facts: NodeFactsById,
    config: Arc<RoomConfig>,
) -> Finished {
    let touched = net.store(StoreCall::Touch(room.clone(), members)).await;
    let absent = net.store(StoreCall::Absent(room.clone())).await;
    let (Ok(_), Ok(StoreReply::Absent(absent))) = (touched, absent) else {
        return Finished::Answer(room, Answer::Absent(Vec::new()));
    };
    let mut state_by_node = std::collections::BTreeMap::new();
    for (node, sessions) in sessions_of(&absent) {
        let is_there = facts
            .get(&node)
            .is_none_or(|facts| facts.media == Media::Up);
        let state = match is_there {
            false => NodeSessions::Gone,
            true => match Rc::clone(&net).sessions(node.clone(), sessions).await {
                Ok((_, held)) => NodeSessions::Held(held),
                Err(_) => NodeSessions::Unknown,
            },
        };
        state_by_node.insert(node, state);
    }
    let absent = unleased(absent, &state_by_node, &config.owner);
    Finished::Answer(room, Answer::Absent(absent))
}
