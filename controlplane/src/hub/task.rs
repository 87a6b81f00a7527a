//! The task of one room: runs its [`Actor`] on tokio, until the room has nothing to do. Nothing here waits for the store
//! or a node while something else could be done.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use tokio::sync::mpsc;

use super::actor::{Actor, Answer, Effect, Input, JoinReads, ReadAgain, Time};
use super::{Hub, RoomInput};
use crate::clock;
use crate::history::{Append, Missed, MissedByRestart, Participant, Restart, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, RoomName, SessionId};
use crate::limits::{PRESENCE_TIME, UNPLACED_APPENDS};
use crate::room::{CloseCode, ErrorCode, Media, Notice, Refusal, Room, Sessions};
use crate::store::{News, Opened, Placed, StoreError};

/// Before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Inputs handled before anything is done that follows from them.
const INPUTS_AT_ONCE: usize = 64;

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Something that was read, and what the driver has to do with it.
enum Done {
    Answer(Answer),
    /// The history was opened again.
    Reopened(mpsc::Receiver<News>, ReadAgain),
    /// What a node holds of the room's sessions; `None` when it could not be asked.
    Held(NodeId, Option<RoomInput>),
}

struct Task {
    hub: Arc<Hub>,
    name: RoomName,
    actor: Actor,
    news: mpsc::Receiver<News>,
    /// In the order in which their events are numbered.
    appends: FuturesOrdered<Future<Result<Placed, StoreError>>>,
    asked: FuturesUnordered<Future<Done>>,
    /// The reader ended, and another is being opened.
    has_news_ended: bool,
    /// The participants that are counted.
    participants: i64,
    is_telling_presence: bool,
}

pub(super) async fn run(
    hub: Arc<Hub>,
    name: RoomName,
    has_overflowed: Arc<AtomicBool>,
    mut inputs: mpsc::Receiver<RoomInput>,
) {
    let (room, news) = match open(&hub, &name).await {
        Ok(opened) => opened,
        Err(error) => return turn_away(&hub, &name, inputs, &error).await,
    };
    let mut task = Task {
        hub,
        name,
        actor: Actor::new(room),
        news,
        appends: FuturesOrdered::new(),
        asked: FuturesUnordered::new(),
        has_news_ended: false,
        participants: 0,
        is_telling_presence: false,
    };
    task.settle();
    let mut presence = tokio::time::interval(PRESENCE_TIME / 3);
    loop {
        let deadline = task.actor.poll_timeout(clock::now());
        let takes_more = task.appends.len() < UNPLACED_APPENDS;
        tokio::select! {
            input = inputs.recv(), if takes_more => match input {
                Some(input) => task.handle_some(input, &mut inputs),
                None => break,
            },
            Some(placed) = task.appends.next() => {
                task.count(&placed);
                task.handle(Input::Answer(Answer::Placed(placed)));
            }
            Some(done) = task.asked.next() => task.handle_done(done),
            news = task.news.recv(), if !task.has_news_ended => {
                task.has_news_ended = news.is_none();
                task.handle(Input::News(news));
            }
            () = sleep_until(deadline) => task.handle(Input::Timeout),
            _ = presence.tick(), if !task.is_telling_presence => {
                task.is_telling_presence = true;
                task.handle(Input::Presence);
            }
        }
        if has_overflowed.swap(false, Ordering::AcqRel) {
            task.read_nodes();
        }
        task.settle();
        if task.is_idle() && inputs.is_empty() {
            break;
        }
    }
    task.finish(inputs).await;
}

async fn open(hub: &Arc<Hub>, name: &RoomName) -> Result<(Room, mpsc::Receiver<News>), StoreError> {
    let opened = hub.store.open(name).await?;
    let Opened {
        epoch,
        offset,
        participants,
        news,
        restart: _,
    } = opened;
    let history = (epoch, Roster::new(offset, participants));
    let config = Arc::clone(&hub.room_config);
    let facts = hub.node_facts();
    let room = Room::new(name.clone(), config, history, facts, clock::now());
    Ok((room, news))
}

/// A room the store does not give: who wants in is told to come again.
async fn turn_away(
    hub: &Arc<Hub>,
    name: &RoomName,
    mut inputs: mpsc::Receiver<RoomInput>,
    error: &StoreError,
) {
    tracing::error!(room = ?name, %error, "cannot open the room");
    inputs.close();
    while let Some(input) = inputs.recv().await {
        if let RoomInput::Join {
            outbox, request, ..
        } = input
        {
            let id = request.id;
            let refusal = Refusal::new(ErrorCode::StoreUnavailable, error.to_string());
            outbox.tell(&Notice::Refused { id, refusal });
            outbox.end((CloseCode::GoingAway, "the store does not answer"));
        }
    }
    hub.retire(name);
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Task {
    fn handle(&mut self, input: Input) {
        let time = Time {
            now: clock::now(),
            unix_s: clock::unix_seconds(),
        };
        self.actor.handle(input, time);
    }

    /// Handles inputs that wait, so that the store is told of all that follows from them at once.
    fn handle_some(&mut self, first: RoomInput, inputs: &mut mpsc::Receiver<RoomInput>) {
        self.handle(Input::Room(first));
        for _ in 1..INPUTS_AT_ONCE {
            if self.appends.len() + self.actor.unplaced() >= 2 * UNPLACED_APPENDS {
                return;
            }
            let Ok(input) = inputs.try_recv() else {
                return;
            };
            self.handle(Input::Room(input));
        }
    }

    fn handle_done(&mut self, done: Done) {
        match done {
            Done::Answer(answer) => {
                if let Answer::Absent(_) = answer {
                    self.is_telling_presence = false;
                }
                self.handle(Input::Answer(answer));
            }
            Done::Reopened(news, again) => {
                self.news = news;
                self.has_news_ended = false;
                self.handle(Input::Answer(Answer::ReadAgain(again)));
            }
            Done::Held(_, Some(input)) => self.handle(Input::Room(input)),
            Done::Held(node, None) => self.read_node(node, STORE_PAUSE),
        }
    }

    /// Starts everything that is to be done, and tells sockets what they are to be told.
    fn settle(&mut self) {
        while let Some(effect) = self.actor.poll_effect() {
            self.start(effect);
        }
        self.actor.flush(clock::now());
        let participants = self.actor.members().try_into().unwrap_or(i64::MAX);
        let metrics = &self.hub.metrics;
        metrics
            .participants
            .inc_by(participants - self.participants);
        self.participants = participants;
    }

    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Append(append) => self.append(append),
            Effect::Await {
                stored,
                offset,
                then,
            } => self.ask(async move {
                let lost = |_| StoreError::Unavailable("the event is lost".into());
                let result = stored.await.map(|()| offset).map_err(lost);
                Done::Answer(Answer::Stored(then, result))
            }),
            Effect::Publish(message) => {
                if let Err(error) = self.hub.store.publish(&self.name, message) {
                    tracing::warn!(room = ?self.name, %error, "a message is not passed on");
                }
            }
            Effect::ReadForJoin(reads) => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.ask(async move { Done::Answer(read_for_join(&hub, &name, reads).await) });
            }
            Effect::ReadAgain { epoch, offset } => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.ask(async move {
                    let (news, again) = read_again(&hub, &name, &epoch, offset).await;
                    Done::Reopened(news, again)
                });
            }
            Effect::Presence(members) => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.ask(async move {
                    Done::Answer(Answer::Absent(absent(&hub, &name, &members).await))
                });
            }
            Effect::Call {
                node,
                session,
                command,
            } => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                tokio::spawn(async move {
                    let result = hub.call(&node, command).await;
                    hub.tell(&name, RoomInput::Replied(session, result)).await;
                });
            }
            Effect::Take { node, sessions } => self.take(node, sessions),
            Effect::Serve { participant, here } => {
                self.hub.routes().serve(participant, &self.name, here);
            }
            Effect::Hear { track, here } => self.hub.routes().hear(track, &self.name, here),
        }
    }

    fn append(&mut self, append: Append) {
        let (store, name) = (Arc::clone(&self.hub.store), self.name.clone());
        let place = async move { store.place(&name, append).await };
        self.appends.push_back(Box::pin(place));
    }

    fn ask(&self, asked: impl std::future::Future<Output = Done> + Send + 'static) {
        self.asked.push(Box::pin(asked));
    }

    /// The lease of this server keeps `sessions` from now on.
    fn take(&self, node: NodeId, sessions: [SessionId; 2]) {
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move {
            let owner = &hub.room_config.owner;
            if let Some(connection) = hub.fleet.connection(&node)
                && let Err(error) = connection.take(owner, &sessions).await
            {
                // The next read of the node's state shows whose they are.
                tracing::warn!(%node, %error, "sessions not taken over");
            }
        });
    }

    /// Something that nodes said did not fit: it is read from them what they hold.
    fn read_nodes(&mut self) {
        for node in self.actor.sessions_by_node().into_keys() {
            self.read_node(node, Duration::ZERO);
        }
    }

    fn read_node(&self, node: NodeId, pause: Duration) {
        let Some(sessions) = self.actor.sessions_by_node().remove(&node) else {
            return;
        };
        let hub = Arc::clone(&self.hub);
        self.ask(async move {
            tokio::time::sleep(pause).await;
            let facts = hub.node_facts().remove(&node).unwrap_or_default();
            let input = match (facts.media, hub.fleet.connection(&node)) {
                (Media::Lost, _) | (_, None) => Some(RoomInput::NodeLost(node.clone())),
                (Media::Up, Some(connection)) => {
                    let held = connection.sessions(&sessions).await.ok();
                    held.map(|sessions| RoomInput::NodeSynced {
                        node: node.clone(),
                        sessions,
                        turn_urls: facts.turn_urls,
                    })
                }
            };
            Done::Held(node, input)
        });
    }

    fn count(&self, placed: &Result<Placed, StoreError>) {
        match placed {
            Ok(_) => drop(self.hub.metrics.events.inc()),
            Err(StoreError::NotOurs(_)) => {}
            Err(error) => {
                self.hub.metrics.store_failures.inc();
                tracing::error!(room = ?self.name, %error, "event lost");
            }
        }
    }

    fn is_idle(&mut self) -> bool {
        self.actor.is_idle(clock::now()) && self.appends.is_empty()
    }

    async fn finish(mut self, mut inputs: mpsc::Receiver<RoomInput>) {
        inputs.close();
        for track in self.actor.tracks() {
            self.hub.routes().hear(track, &self.name, false);
        }
        // Dropping the reader lets the store forget the room.
        self.news.close();
        let (_, nothing) = mpsc::channel(1);
        self.news = nothing;
        if let Err(error) = self.hub.store.close(&self.name).await {
            tracing::warn!(room = ?self.name, %error, "room not closed in the store");
        }
        self.hub.retire(&self.name);
        while let Some(input) = inputs.recv().await {
            self.hub.tell(&self.name, input).await;
        }
    }
}

async fn read_for_join(hub: &Hub, name: &RoomName, reads: JoinReads) -> Answer {
    let JoinReads {
        socket,
        seen,
        claimed,
    } = reads;
    let missed = async {
        let Some((epoch, offset)) = &seen else {
            return Missed::TooOld;
        };
        let missed = hub.store.since(name, epoch, *offset).await;
        missed.unwrap_or_else(|error| {
            tracing::warn!(room = ?name, %error, "history unreadable, resync");
            Missed::TooOld
        })
    };
    let (missed, sessions) = tokio::join!(missed, claim(hub, name, claimed));
    Answer::ReadForJoin {
        socket,
        missed,
        sessions,
    }
}

/// Says that a participant is this server's, and reads what its node holds of it.
async fn claim(
    hub: &Hub,
    name: &RoomName,
    claimed: Option<Sessions>,
) -> Vec<crate::fleet::HeldSession> {
    let Some(sessions) = claimed else {
        return Vec::new();
    };
    if let Err(error) = hub.store.claim(name, &sessions.participant).await {
        // Whoever served it finds out when the store is back.
        tracing::warn!(room = ?name, %error, "participant taken over unheard");
    }
    let Some(connection) = hub.fleet.connection(&sessions.node) else {
        return Vec::new();
    };
    let held = connection.sessions(&sessions.ids()).await;
    held.unwrap_or_default()
}

/// Reads a history again whose reader ended, or missed something.
async fn read_again(
    hub: &Hub,
    name: &RoomName,
    epoch: &Epoch,
    offset: u64,
) -> (mpsc::Receiver<News>, ReadAgain) {
    let opened = loop {
        match hub.store.open(name).await {
            Ok(opened) => break opened,
            Err(error) => tracing::error!(room = ?name, %error, "cannot read the history"),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    };
    match hub.store.since(name, epoch, offset).await {
        Ok(Missed::Entries(entries)) => (opened.news, ReadAgain::Entries(entries)),
        // The history started over behind our back: everybody is told the whole truth.
        Ok(Missed::TooOld) | Err(_) => {
            tracing::warn!(room = ?name, "the history started over, participants resync");
            let missed = match &opened.restart {
                Some(restart) if opened.epoch != *epoch => {
                    missed_by_restart(hub, name, &opened.epoch, restart).await
                }
                Some(_) | None => MissedByRestart::default(),
            };
            let again = ReadAgain::Restarted {
                epoch: opened.epoch,
                roster: Roster::new(opened.offset, opened.participants),
                missed,
            };
            (opened.news, again)
        }
    }
}

/// What the new history has that was not told here under its numbers.
async fn missed_by_restart(
    hub: &Hub,
    name: &RoomName,
    epoch: &Epoch,
    restart: &Restart,
) -> MissedByRestart {
    match hub.store.since(name, epoch, restart.common).await {
        Ok(Missed::Entries(entries)) => MissedByRestart::new(entries, &restart.told),
        Ok(Missed::TooOld) => MissedByRestart::default(),
        Err(error) => {
            tracing::warn!(room = ?name, %error, "history unreadable, a snapshot alone");
            MissedByRestart::default()
        }
    }
}

/// Tells the store who is there; who is not, and has no lease either.
async fn absent(hub: &Hub, name: &RoomName, members: &[ParticipantId]) -> Vec<Participant> {
    let touched = hub.store.touch(name, members, PRESENCE_TIME).await;
    let absent = hub.store.absent(name).await;
    match (touched, absent) {
        (Ok(()), Ok(absent)) => without_lease(hub, name, absent).await,
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(room = ?name, %error, "presence not kept");
            Vec::new()
        }
    }
}

/// Those of `absent` whose sessions nobody's lease keeps. A server that is cut off from the store alone goes on serving
/// its participants, and renews.
async fn without_lease(
    hub: &Hub,
    name: &RoomName,
    mut absent: Vec<Participant>,
) -> Vec<Participant> {
    let facts = hub.node_facts();
    let is_there = |node: &NodeId| facts.get(node).is_none_or(|f| f.media == Media::Up);
    let mut nodes: Vec<NodeId> = absent.iter().map(|p| p.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    let owner = &hub.room_config.owner;
    let mut leased: HashSet<ParticipantId> = HashSet::new();
    for node in nodes {
        // Of one that is dead, or not in the fleet any more, nothing is left.
        let (true, Some(connection)) = (is_there(&node), hub.fleet.connection(&node)) else {
            continue;
        };
        let of_node = absent.iter().filter(|p| p.node == node);
        let ids: Vec<SessionId> = of_node.flat_map(|p| Sessions::of(p).ids()).collect();
        match connection.sessions(&ids).await {
            Ok(held) => {
                let is_anothers =
                    |held: &crate::fleet::HeldSession| held.is_leased && held.owner != *owner;
                let kept = held.into_iter().filter(is_anothers);
                leased.extend(kept.map(|held| held.session.participant));
            }
            Err(error) => {
                tracing::warn!(room = ?name, %node, %error, "nobody there is taken for absent");
                absent.retain(|participant| participant.node != node);
            }
        }
    }
    absent.retain(|participant| !leased.contains(&participant.participant));
    absent
}
