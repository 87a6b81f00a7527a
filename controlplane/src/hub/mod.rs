//! All rooms of this server: finds or starts the task of a room, and delivers what belongs to it.
//!
//! The rooms' logic is in [`crate::room`]; this is what runs it on tokio.

mod actor; // the task of one room
mod audience; // its sockets, and what all of them are told
mod outbox; // a socket's bounded queue, as rooms see it

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spillway_wire::dataplane as wire;
use tokio::sync::{mpsc, oneshot, watch};

pub use outbox::{Ending, EndingReader, Outbox, OutboxReader, ToSocket, outbox};

use crate::ids::{ParticipantId, RoomName, SessionId, TrackId};
use crate::limits::{REPORT_TIME, ROOM_INPUTS, SETTLE_TIME};
use crate::metrics::Metrics;
use crate::node::{Done, NodeError, NodeHandle, NodeUpdate};
use crate::room::{Media, NodeEvent, RoomConfig, RoomReport, SessionAnnotation, SocketId};
use crate::signaling::{JoinRequest, Request};
use crate::store::Store;

/// What a room's task is told.
#[derive(Debug)]
pub enum RoomInput {
    /// A participant wants in.
    Join {
        /// Its socket.
        socket: SocketId,
        /// Where its messages go.
        outbox: Outbox,
        /// What was found good.
        request: JoinRequest,
    },
    /// A participant asks.
    Request {
        /// Who.
        socket: SocketId,
        /// Echoed in the reply.
        id: Option<u32>,
        /// What.
        request: Request,
    },
    /// A socket is gone.
    SocketGone(SocketId),
    /// The data plane answered.
    Replied(SessionId, Result<Done, NodeError>),
    /// Something happened to a session or a track.
    Node(NodeEvent),
    /// The data plane died.
    MediaLost,
    /// The data plane holds these sessions of the room.
    MediaSynced(Vec<wire::Session>),
    /// Somebody wants to see the room.
    Report(oneshot::Sender<RoomReport>),
}

/// Shared by sockets, rooms and the admin API.
pub struct Hub {
    mailbox_by_room: Mutex<HashMap<RoomName, mpsc::Sender<RoomInput>>>,
    routes: Mutex<Routes>,
    store: Arc<dyn Store>,
    node: NodeHandle,
    room_config: Arc<RoomConfig>,
    metrics: Arc<Metrics>,
    media: watch::Sender<Media>,
    settled: watch::Sender<bool>,
}

/// Which room hears of what.
#[derive(Debug, Default)]
struct Routes {
    room_by_participant: HashMap<ParticipantId, RoomName>,
    room_by_track: HashMap<TrackId, RoomName>,
    /// Rooms in each shard's last report of levels: they must hear of the silence too.
    heard_by_shard: HashMap<u32, Vec<RoomName>>,
}

impl Hub {
    /// A server without rooms.
    pub fn new(
        store: Arc<dyn Store>,
        node: NodeHandle,
        room_config: Arc<RoomConfig>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            mailbox_by_room: Mutex::default(),
            routes: Mutex::default(),
            store,
            node,
            room_config,
            metrics,
            media: watch::channel(Media::Up).0,
            settled: watch::channel(false).0,
        })
    }

    /// The data plane.
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Where rooms are kept.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Names of the rooms this server serves, in order.
    pub fn room_names(&self) -> Vec<RoomName> {
        let mut names: Vec<_> = self.mailboxes().keys().cloned().collect();
        names.sort();
        names
    }

    /// The room as its task sees it; `None` when this server does not serve it.
    pub async fn report(&self, room: &RoomName) -> Option<RoomReport> {
        let mailbox = self.mailboxes().get(room).cloned()?;
        let (sender, report) = oneshot::channel();
        let asked = async {
            mailbox.send(RoomInput::Report(sender)).await.ok()?;
            report.await.ok()
        };
        tokio::time::timeout(REPORT_TIME, asked).await.ok()?
    }

    /// Waits until the data plane's state was read once, so that a participant of an earlier
    /// process is not taken for a new one; without a data plane, not for long.
    pub async fn settle(&self) {
        let mut settled = self.settled.subscribe();
        let _ = tokio::time::timeout(SETTLE_TIME, settled.wait_for(|settled| *settled)).await;
    }

    /// Tells a room, starting its task if it has none; waits while the room has too much to do.
    pub async fn tell(self: &Arc<Self>, room: &RoomName, mut input: RoomInput) {
        loop {
            let mailbox = self.mailbox(room);
            match mailbox.send(input).await {
                Ok(()) => return,
                // The task ended just now; the next one takes it.
                Err(mpsc::error::SendError(returned)) => input = returned,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Delivers what the data plane says until it says nothing more.
    pub async fn follow(self: Arc<Self>, mut updates: mpsc::Receiver<NodeUpdate>) {
        while let Some(update) = updates.recv().await {
            match update {
                NodeUpdate::Lost => {
                    tracing::error!("data plane: died, participants are told");
                    self.metrics.data_plane_deaths.inc();
                    self.media.send_replace(Media::Lost);
                    for room in self.room_names() {
                        self.tell(&room, RoomInput::MediaLost).await;
                    }
                }
                NodeUpdate::Synced(sessions) => self.synced(sessions).await,
                NodeUpdate::Event(event) => self.event(event).await,
            }
        }
    }

    async fn synced(self: &Arc<Self>, sessions: Vec<wire::Session>) {
        self.media.send_replace(Media::Up);
        let mut by_room: HashMap<RoomName, Vec<wire::Session>> = HashMap::new();
        for room in self.room_names() {
            by_room.insert(room, Vec::new());
        }
        for session in sessions {
            let room = match SessionAnnotation::decode(&session.annotation) {
                Some(annotation) => annotation.room,
                None => {
                    tracing::warn!(session = %session.session, "data plane: session of another control plane, left alone");
                    continue;
                }
            };
            match by_room.get_mut(&room) {
                Some(sessions) => sessions.push(session),
                // Another server's, where there are others.
                None if self.room_config.is_shared && session.owner != self.room_config.owner => {}
                None => drop(by_room.insert(room, vec![session])),
            }
        }
        for (room, sessions) in by_room {
            self.tell(&room, RoomInput::MediaSynced(sessions)).await;
        }
        self.settled.send_replace(true);
    }

    async fn event(self: &Arc<Self>, event: wire::event::Event) {
        use wire::event::Event;
        let (session, event) = match event {
            Event::Hello(_) => return,
            Event::Levels(levels) => return self.levels(levels).await,
            Event::Connected(connected) => {
                let (text, shard) = (connected.session, connected.shard);
                let of = move |session| NodeEvent::Connected { session, shard };
                (
                    text,
                    Box::new(of) as Box<dyn FnOnce(SessionId) -> NodeEvent + Send>,
                )
            }
            Event::Closed(closed) => {
                tracing::debug!(session = %closed.session, reason = %closed.reason, "session closed");
                (
                    closed.session,
                    Box::new(move |session| NodeEvent::Closed {
                        session,
                        failure: Some(closed.failure).filter(|failure| !failure.is_empty()),
                    }) as _,
                )
            }
            Event::Offer(offer) => {
                let text = offer.session.clone();
                (
                    text,
                    Box::new(move |session| NodeEvent::Offer { session, offer }) as _,
                )
            }
            Event::Layer(layer) => {
                let text = layer.session.clone();
                (
                    text,
                    Box::new(move |session| NodeEvent::Layer(layer, session)) as _,
                )
            }
        };
        let Some((participant, half)) = SessionId::parse(&session) else {
            return;
        };
        let room = self.routes().room_by_participant.get(&participant).cloned();
        if let Some(room) = room {
            let event = event(participant.session(half));
            self.tell(&room, RoomInput::Node(event)).await;
        }
    }

    async fn levels(self: &Arc<Self>, report: wire::Levels) {
        let shard = report.shard;
        let by_room = self.routes().levels_by_room(report);
        for (room, levels) in by_room {
            let event = NodeEvent::Levels { shard, levels };
            self.tell(&room, RoomInput::Node(event)).await;
        }
    }

    /// The room's mailbox; starts its task when there is none.
    fn mailbox(self: &Arc<Self>, room: &RoomName) -> mpsc::Sender<RoomInput> {
        let mut mailboxes = self.mailboxes();
        if let Some(mailbox) = mailboxes.get(room).filter(|mailbox| !mailbox.is_closed()) {
            return mailbox.clone();
        }
        let (mailbox, inputs) = mpsc::channel(ROOM_INPUTS);
        mailboxes.insert(room.clone(), mailbox.clone());
        self.metrics
            .rooms
            .set(mailboxes.len().try_into().unwrap_or(i64::MAX));
        tokio::spawn(actor::run(Arc::clone(self), room.clone(), inputs));
        mailbox
    }

    /// A room's task has nothing more to do.
    fn retire(&self, room: &RoomName) {
        let mut mailboxes = self.mailboxes();
        // Another task may have taken over since.
        if mailboxes.get(room).is_some_and(mpsc::Sender::is_closed) {
            mailboxes.remove(room);
        }
        self.metrics
            .rooms
            .set(mailboxes.len().try_into().unwrap_or(i64::MAX));
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<RoomName, mpsc::Sender<RoomInput>>> {
        self.mailbox_by_room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("rooms", &self.room_names())
            .finish_non_exhaustive()
    }
}

impl Routes {
    fn levels_by_room(&mut self, report: wire::Levels) -> HashMap<RoomName, Vec<(TrackId, u32)>> {
        let last = self
            .heard_by_shard
            .remove(&report.shard)
            .unwrap_or_default();
        let mut by_room: HashMap<_, Vec<_>> = HashMap::new();
        for level in report.levels {
            if let Ok(track) = level.track.parse()
                && let Some(room) = self.room_by_track.get(&track)
            {
                by_room
                    .entry(room.clone())
                    .or_default()
                    .push((track, level.dbov));
            }
        }
        let heard = by_room.keys().cloned().collect();
        self.heard_by_shard.insert(report.shard, heard);
        let silent = |room: &RoomName| self.room_by_track.values().any(|r| r == room);
        for room in last {
            // A room that is gone must not be started again to hear of silence.
            if !by_room.contains_key(&room) && silent(&room) {
                by_room.insert(room, Vec::new());
            }
        }
        by_room
    }
}
