//! The rooms of this server. Finds or starts the task of a room, and routes events of nodes to
//! rooms.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::input::RoomInput;
use super::routes::{Routes, sessions_by_room};
use crate::fleet::{Command, Done, Fleet, HeldSession, NodeError, NodeEvent, NodeUpdate, Update};
use crate::ids::{NodeId, RoomName, TrackId};
use crate::limits::{NODE_WAIT_TIME, REPORT_TIME, ROOM_INPUTS};
use crate::metrics::Metrics;
use crate::room::{Media, NodeFactsById, RoomConfig, RoomReport};
use crate::store::Store;

/// The rooms of this server. Sockets, rooms and the admin API share it.
pub struct Hub {
    mailbox_by_room: Mutex<HashMap<RoomName, Mailbox>>,
    routes: Mutex<Routes>,
    pub(super) store: Arc<dyn Store>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) room_config: Arc<RoomConfig>,
    pub(super) metrics: Arc<Metrics>,
    node_facts: Mutex<NodeFactsById>,
    /// Function that starts the task of a room.
    start: Start,
    has_read_nodes: watch::Sender<bool>,
}

/// Starts the task of a room with its input queue.
pub(super) type Start = fn(Arc<Hub>, RoomName, Inputs);

/// Input queue of a room's task.
pub(super) struct Inputs {
    pub(super) receiver: mpsc::Receiver<RoomInput>,
    /// An event of a node did not fit into the queue: the room must read the node's state.
    pub(super) has_overflowed: Arc<AtomicBool>,
}

/// Sender of a room's inputs.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<RoomInput>,
    /// Shared with [`Inputs::has_overflowed`] of the room's task.
    pub(super) has_overflowed: Arc<AtomicBool>,
}

impl Hub {
    /// A hub without rooms.
    pub(super) fn new(
        store: Arc<dyn Store>,
        fleet: Arc<Fleet>,
        room_config: Arc<RoomConfig>,
        metrics: Arc<Metrics>,
        start: Start,
    ) -> Arc<Self> {
        Arc::new(Self {
            mailbox_by_room: Mutex::default(),
            routes: Mutex::default(),
            store,
            fleet,
            room_config,
            metrics,
            node_facts: Mutex::default(),
            start,
            has_read_nodes: watch::channel(false).0,
        })
    }

    /// The nodes and the connections to them.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Store of the rooms.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Counters of the server.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Names of the rooms with a task, sorted.
    pub fn room_names(&self) -> Vec<RoomName> {
        let mut names: Vec<_> = self.mailboxes().keys().cloned().collect();
        names.sort();
        names
    }

    /// State of the room, from its task; `None` if the room has no task, or the task does not
    /// answer in time.
    pub async fn report(&self, room: &RoomName) -> Option<RoomReport> {
        let mailbox = self.mailboxes().get(room)?.sender.clone();
        let (sender, report) = oneshot::channel();
        let asked = async {
            mailbox.send(RoomInput::Report(sender)).await.ok()?;
            report.await.ok()
        };
        tokio::time::timeout(REPORT_TIME, asked).await.ok()?
    }

    /// Waits until the state of one node was read, at most [`NODE_WAIT_TIME`]. Before that, a
    /// participant of an earlier process would be taken for a new one.
    pub async fn wait_for_nodes(&self) {
        let mut has_read = self.has_read_nodes.subscribe();
        let _ = tokio::time::timeout(NODE_WAIT_TIME, has_read.wait_for(|has_read| *has_read)).await;
    }

    /// Sends an input to a room. Starts its task if there is none. Waits while the queue of the
    /// room is full.
    pub async fn send(self: &Arc<Self>, room: &RoomName, mut input: RoomInput) {
        loop {
            let mailbox = self.mailbox(room);
            match mailbox.sender.send(input).await {
                Ok(()) => return,
                // The task ended just now. The next one gets the input.
                Err(mpsc::error::SendError(returned)) => input = returned,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Sends an event of a node to a room, without waiting. If the queue is full, the event is
    /// dropped, and the room reads the node's state later.
    fn try_send_node_event(self: &Arc<Self>, room: &RoomName, mut input: RoomInput) {
        loop {
            let mailbox = self.mailbox(room);
            match mailbox.sender.try_send(input) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.metrics.room_overflows.inc();
                    mailbox.has_overflowed.store(true, Ordering::Release);
                    return;
                }
                // The task ended just now. The next one gets the input.
                Err(mpsc::error::TrySendError::Closed(returned)) => input = returned,
            }
        }
    }

    /// Routes the events of nodes to rooms, until no more events come. Never waits for a room.
    pub async fn route_updates(self: Arc<Self>, mut updates: mpsc::Receiver<NodeUpdate>) {
        while let Some(NodeUpdate { node, update }) = updates.recv().await {
            match update {
                Update::Lost => self.lost(&node),
                Update::Synced {
                    sessions,
                    turn_urls,
                } => self.synced(&node, sessions, &turn_urls),
                Update::Event(event) => self.event(node, event),
            }
        }
    }

    fn lost(self: &Arc<Self>, node: &NodeId) {
        tracing::error!(%node, "node: its data plane ended, participants get media lost");
        self.metrics.node_deaths.inc();
        self.facts().entry(node.clone()).or_default().media = Media::Lost;
        for room in self.room_names() {
            self.try_send_node_event(&room, RoomInput::NodeLost(node.clone()));
        }
    }

    fn synced(self: &Arc<Self>, node: &NodeId, sessions: Vec<HeldSession>, urls: &Arc<[String]>) {
        {
            let mut facts = self.facts();
            let facts = facts.entry(node.clone()).or_default();
            facts.media = Media::Up;
            facts.turn_urls = Arc::clone(urls);
        }
        let by_room = sessions_by_room(self.room_names(), sessions, &self.room_config);
        for (room, sessions) in by_room {
            let input = RoomInput::NodeSynced {
                node: node.clone(),
                sessions,
                asked: None,
                turn_urls: Arc::clone(urls),
            };
            self.try_send_node_event(&room, input);
        }
        self.has_read_nodes.send_replace(true);
    }

    fn event(self: &Arc<Self>, node: NodeId, event: NodeEvent) {
        let participant = match &event {
            NodeEvent::Connected { session, .. }
            | NodeEvent::Closed { session, .. }
            | NodeEvent::Offer { session, .. }
            | NodeEvent::Layer { session, .. } => &session.participant,
            NodeEvent::Levels { shard, .. } => {
                let shard = *shard;
                let NodeEvent::Levels { levels, .. } = event else {
                    unreachable!("it is one");
                };
                return self.levels(node, shard, levels);
            }
        };
        let room = self.routes().room_of(participant);
        if let Some(room) = room {
            self.try_send_node_event(&room, RoomInput::Node(node, event));
        }
    }

    fn levels(&self, node: NodeId, shard: u32, levels: Vec<(TrackId, u32)>) {
        let by_room = self.routes().levels_by_room((node.clone(), shard), levels);
        for (room, levels) in by_room {
            let event = NodeEvent::Levels { shard, levels };
            // A report is dropped if the room has no task or its queue is full. The next report
            // replaces it.
            if let Some(mailbox) = self.mailboxes().get(&room) {
                let _ = mailbox
                    .sender
                    .try_send(RoomInput::Node(node.clone(), event));
            }
        }
    }

    /// Sends a command to a node.
    pub(super) async fn call(&self, node: &NodeId, command: Command) -> Result<Done, NodeError> {
        match self.fleet.connection(node) {
            Some(connection) => connection.call(command).await,
            None => Err(Fleet::unknown(node)),
        }
    }

    /// The input queue of a room; starts its task if there is none.
    pub(super) fn mailbox(self: &Arc<Self>, room: &RoomName) -> Mailbox {
        let mut mailboxes = self.mailboxes();
        let is_open = |mailbox: &&Mailbox| !mailbox.sender.is_closed();
        if let Some(mailbox) = mailboxes.get(room).filter(is_open) {
            return mailbox.clone();
        }
        let (sender, receiver) = mpsc::channel(ROOM_INPUTS);
        let mailbox = Mailbox {
            sender,
            has_overflowed: Arc::default(),
        };
        mailboxes.insert(room.clone(), mailbox.clone());
        self.count_rooms(mailboxes.len());
        let inputs = Inputs {
            receiver,
            has_overflowed: Arc::clone(&mailbox.has_overflowed),
        };
        (self.start)(Arc::clone(self), room.clone(), inputs);
        mailbox
    }

    /// Removes a room whose task has ended.
    pub(super) fn remove_room(&self, room: &RoomName) {
        let mut mailboxes = self.mailboxes();
        // Another task may have started meanwhile.
        let is_over = |mailbox: &Mailbox| mailbox.sender.is_closed();
        if mailboxes.get(room).is_some_and(is_over) {
            mailboxes.remove(room);
        }
        self.count_rooms(mailboxes.len());
    }

    fn count_rooms(&self, rooms: usize) {
        let rooms = rooms.try_into().unwrap_or(i64::MAX);
        self.metrics.rooms.set(rooms);
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<RoomName, Mailbox>> {
        self.mailbox_by_room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Current facts about the nodes.
    pub(super) fn node_facts(&self) -> NodeFactsById {
        self.facts().clone()
    }

    fn facts(&self) -> MutexGuard<'_, NodeFactsById> {
        self.node_facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("rooms", &self.room_names())
            .finish_non_exhaustive()
    }
}
