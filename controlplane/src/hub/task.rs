//! The task of one room: runs its [`Actor`] on tokio until the room has no work. It never waits for
//! the store or a node.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use tokio::sync::mpsc;

use super::actor::Actor;
use super::directory::{Hub, Inputs};
use super::effect::{Answer, Effect, Input, ReadAgain, Time};
use super::input::RoomInput;
use super::read::{STORE_PAUSE, absent, claim_again, read_again, read_for_join};
use crate::clock;
use crate::history::{Append, Roster};
use crate::ids::{NodeId, RoomName, SessionId};
use crate::limits::{APPENDS_IN_FLIGHT, PRESENCE_TIME};
use crate::room::{CloseCode, ErrorCode, Media, Notice, Refusal, Room};
use crate::store::{Appended, Opened, RoomUpdate, StoreError};

/// Inputs handled before their effects are started, so that their appends go to the store together.
const INPUTS_AT_ONCE: usize = 64;

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Result of a read.
enum ReadResult {
    Answer(Answer),
    /// The history was opened again.
    Reopened(mpsc::Receiver<RoomUpdate>, ReadAgain),
    /// Sessions of the room on a node; `None`: the node did not answer.
    Held(NodeId, Option<RoomInput>),
}

struct Task {
    hub: Arc<Hub>,
    name: RoomName,
    actor: Actor,
    updates: mpsc::Receiver<RoomUpdate>,
    /// Appends in the order of the effects. Their results come in the same order.
    appends: FuturesOrdered<Future<Result<Appended, StoreError>>>,
    reads: FuturesUnordered<Future<ReadResult>>,
    /// The reader ended. The room is being opened again.
    has_reader_ended: bool,
    /// Number of participants of this room in the metric.
    participants: i64,
    is_renewing_presence: bool,
}

/// Starts the task of a room.
pub(super) fn start(hub: Arc<Hub>, name: RoomName, inputs: Inputs) {
    tokio::spawn(run(hub, name, inputs));
}

async fn run(hub: Arc<Hub>, name: RoomName, inputs: Inputs) {
    let Inputs {
        receiver: mut inputs,
        has_overflowed,
    } = inputs;
    let (room, updates) = match open(&hub, &name).await {
        Ok(opened) => opened,
        Err(error) => return refuse_join(&hub, &name, inputs, &error).await,
    };
    let mut task = Task {
        hub,
        name,
        actor: Actor::new(room),
        updates,
        appends: FuturesOrdered::new(),
        reads: FuturesUnordered::new(),
        has_reader_ended: false,
        participants: 0,
        is_renewing_presence: false,
    };
    task.start_effects();
    let mut presence = tokio::time::interval(PRESENCE_TIME / 3);
    loop {
        let deadline = task.actor.poll_timeout(clock::now());
        let takes_more = task.appends.len() < APPENDS_IN_FLIGHT;
        tokio::select! {
            input = inputs.recv(), if takes_more => match input {
                Some(input) => task.handle_some(input, &mut inputs),
                None => break,
            },
            Some(appended) = task.appends.next() => {
                task.count(&appended);
                task.handle(Input::Answer(Answer::Appended(appended)));
            }
            Some(done) = task.reads.next() => task.handle_done(done),
            updates = task.updates.recv(), if !task.has_reader_ended => {
                task.has_reader_ended = updates.is_none();
                task.handle(Input::Update(updates));
            }
            () = sleep_until(deadline) => task.handle(Input::Timeout),
            _ = presence.tick(), if !task.is_renewing_presence => {
                task.is_renewing_presence = true;
                task.handle(Input::Presence);
            }
        }
        if has_overflowed.swap(false, Ordering::AcqRel) {
            task.read_nodes();
        }
        task.start_effects();
        if task.is_idle() && inputs.is_empty() {
            break;
        }
    }
    task.finish(inputs).await;
}

async fn open(
    hub: &Arc<Hub>,
    name: &RoomName,
) -> Result<(Room, mpsc::Receiver<RoomUpdate>), StoreError> {
    let opened = hub.store.open(name).await?;
    let Opened {
        epoch,
        offset,
        participants,
        updates,
        restart: _,
    } = opened;
    let history = (epoch, Roster::new(offset, participants));
    let config = Arc::clone(&hub.room_config);
    let facts = hub.node_facts();
    let room = Room::new(name.clone(), config, history, facts, clock::now());
    Ok((room, updates))
}

/// Refuses all joins, because the store cannot open the room.
async fn refuse_join(
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
            outbox.send_notice(&Notice::Refused { id, refusal });
            outbox.end((CloseCode::GoingAway, "the store does not answer"));
        }
    }
    hub.remove_room(name);
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

    /// Handles queued inputs, so that their appends go to the store together.
    fn handle_some(&mut self, first: RoomInput, inputs: &mut mpsc::Receiver<RoomInput>) {
        self.handle(Input::Room(first));
        for _ in 1..INPUTS_AT_ONCE {
            if self.appends.len() + self.actor.appends_in_flight() >= 2 * APPENDS_IN_FLIGHT {
                return;
            }
            let Ok(input) = inputs.try_recv() else {
                return;
            };
            self.handle(Input::Room(input));
        }
    }

    fn handle_done(&mut self, done: ReadResult) {
        match done {
            ReadResult::Answer(answer) => {
                if let Answer::Absent(_) = answer {
                    self.is_renewing_presence = false;
                }
                self.handle(Input::Answer(answer));
            }
            ReadResult::Reopened(updates, again) => {
                self.updates = updates;
                self.has_reader_ended = false;
                self.handle(Input::Answer(Answer::ReadAgain(again)));
            }
            ReadResult::Held(_, Some(input)) => self.handle(Input::Room(input)),
            ReadResult::Held(node, None) => self.read_node(node, STORE_PAUSE),
        }
    }

    /// Starts all effects, and sends buffered broadcasts.
    fn start_effects(&mut self) {
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
            } => self.spawn_read(async move {
                let lost = |_| StoreError::Unavailable("the event is lost".into());
                let result = stored.await.map(|()| offset).map_err(lost);
                ReadResult::Answer(Answer::Stored(then, result))
            }),
            Effect::Publish(message) => {
                if let Err(error) = self.hub.store.publish(&self.name, message) {
                    tracing::warn!(room = ?self.name, %error, "an ephemeral message was not sent");
                }
            }
            Effect::ReadForJoin(reads) => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.spawn_read(async move {
                    ReadResult::Answer(read_for_join(&hub, &name, reads).await)
                });
            }
            Effect::Claim(participant) => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.spawn_read(async move {
                    ReadResult::Answer(claim_again(&hub, &name, participant).await)
                });
            }
            Effect::ReadAgain { epoch, offset } => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.spawn_read(async move {
                    let (updates, again) = read_again(&hub, &name, &epoch, offset).await;
                    ReadResult::Reopened(updates, again)
                });
            }
            Effect::Presence(members) => {
                let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
                self.spawn_read(async move {
                    ReadResult::Answer(Answer::Absent(absent(&hub, &name, &members).await))
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
                    hub.send(&name, RoomInput::Replied(session, result)).await;
                });
            }
            Effect::TakeLease { node, sessions } => self.take_lease(node, sessions),
            Effect::RouteEvents { participant, here } => {
                self.hub
                    .routes()
                    .route_events(participant, &self.name, here);
            }
            Effect::RouteLevels { track, here } => {
                self.hub.routes().route_levels(track, &self.name, here)
            }
        }
    }

    fn append(&mut self, append: Append) {
        let (store, name) = (Arc::clone(&self.hub.store), self.name.clone());
        let append = async move { store.append_event(&name, append).await };
        self.appends.push_back(Box::pin(append));
    }

    fn spawn_read(&self, read: impl std::future::Future<Output = ReadResult> + Send + 'static) {
        self.reads.push(Box::pin(read));
    }

    /// Makes this server the owner of `sessions`.
    fn take_lease(&self, node: NodeId, sessions: [SessionId; 2]) {
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move {
            let owner = &hub.room_config.owner;
            if let Some(connection) = hub.fleet.connection(&node)
                && let Err(error) = connection.take_lease(owner, &sessions).await
            {
                // The next read of the node's state shows a wrong owner.
                tracing::warn!(%node, %error, "sessions not taken over");
            }
        });
    }

    /// Reads the state of all nodes, because an event of a node did not fit into the queue.
    fn read_nodes(&mut self) {
        let mut nodes: BTreeSet<NodeId> = self.hub.node_facts().into_keys().collect();
        nodes.extend(self.actor.sessions_by_node().into_keys());
        for node in nodes {
            self.read_node(node, Duration::ZERO);
        }
    }

    fn read_node(&self, node: NodeId, pause: Duration) {
        let sessions = self.actor.sessions_by_node().remove(&node);
        let sessions = sessions.unwrap_or_default();
        let hub = Arc::clone(&self.hub);
        self.spawn_read(async move {
            tokio::time::sleep(pause).await;
            let facts = hub.node_facts().remove(&node).unwrap_or_default();
            let input = match (facts.media, hub.fleet.connection(&node)) {
                (Media::Lost, _) | (_, None) => Some(RoomInput::NodeLost(node.clone())),
                (Media::Up, Some(connection)) => {
                    let held = connection.sessions(&sessions).await.ok();
                    held.map(|held| RoomInput::NodeSynced {
                        node: node.clone(),
                        sessions: held,
                        asked: Some(sessions),
                        turn_urls: facts.turn_urls,
                    })
                }
            };
            ReadResult::Held(node, input)
        });
    }

    fn count(&self, appended: &Result<Appended, StoreError>) {
        match appended {
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
            self.hub.routes().route_levels(track, &self.name, false);
        }
        // The store can forget a room without readers.
        self.updates.close();
        let (_, nothing) = mpsc::channel(1);
        self.updates = nothing;
        if let Err(error) = self.hub.store.close(&self.name).await {
            tracing::warn!(room = ?self.name, %error, "room not closed in the store");
        }
        self.hub.remove_room(&self.name);
        while let Some(input) = inputs.recv().await {
            self.hub.send(&self.name, input).await;
        }
    }
}
