//! State that all methods of the store on Redis share: the open rooms, and the connections.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tokio::sync::{Notify, oneshot};

use super::errors::LinkError;
use super::link::Link;
use super::partition::RoomKeys;
use super::room_replica::{Received, RoomReplica};
use super::subscriptions::Subscriptions;
use super::{message, script};
use crate::history::{Append, Entry, Ephemeral, Missed, Participant, Restart};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;
use crate::store::{Appended, Opened, StoreError};

/// The open rooms of this server, and its connections to Redis.
#[derive(Debug)]
pub(super) struct Shared {
    /// Random id of this server in the store.
    pub(super) server_id: String,
    pub(super) appends: AtomicU64,
    pub(super) link: Arc<Link>,
    pub(super) subscriptions: Subscriptions,
    pub(super) room_by_name: Mutex<HashMap<RoomName, Arc<OpenRoom>>>,
    /// Wakes the maintenance task at once.
    pub(super) wakeup: Notify,
    pub(super) metrics: StoreMetrics,
}

/// A room that has a reader on this server.
#[derive(Debug)]
pub(super) struct OpenRoom {
    pub(super) name: RoomName,
    pub(super) keys: RoomKeys,
    /// Write lock: no append during a reconciliation.
    pub(super) writing: tokio::sync::Mutex<WriterState>,
    /// Appends that were not sent yet, oldest first.
    pub(super) waiting: Mutex<VecDeque<QueuedAppend>>,
    pub(super) replica: Mutex<RoomReplica>,
}

#[derive(Debug, Default)]
pub(super) struct WriterState {
    /// True if this room counts as a subscriber of its partition.
    pub(super) is_subscribed: bool,
}

/// An append that was not sent yet.
#[derive(Debug)]
pub(super) struct QueuedAppend {
    pub(super) append: Append,
    pub(super) answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// Pause before a failed subscription is repeated.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);
/// Time to wait for missing events that later events overtook. Then they are requested.
pub(super) const GAP_PATIENCE: Duration = Duration::from_millis(50);

impl Shared {
    /// The state of a store without open rooms.
    pub(super) fn new(
        server_id: String,
        link: Arc<Link>,
        subscriptions: Subscriptions,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            server_id,
            appends: AtomicU64::new(0),
            subscriptions,
            link,
            room_by_name: Mutex::default(),
            wakeup: Notify::new(),
            metrics,
        }
    }

    pub(super) fn open_room(&self, room: &RoomName) -> Result<Arc<OpenRoom>, StoreError> {
        let open_room = self.rooms().get(room).cloned();
        open_room.ok_or_else(|| StoreError::NoRoom(room.clone()))
    }

    pub(super) fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<OpenRoom>>> {
        lock(&self.room_by_name)
    }

    pub(super) async fn open(&self, room: &RoomName) -> Result<Opened, StoreError> {
        loop {
            let open_room = {
                let mut rooms = self.rooms();
                let open_room = rooms
                    .entry(room.clone())
                    .or_insert_with(|| Arc::new(OpenRoom::new(room.clone())));
                Arc::clone(open_room)
            };
            let mut writing = open_room.writing.lock().await;
            // Another task may have closed the room meanwhile.
            if !self.is_current(&open_room) {
                continue;
            }
            if open_room.replica().is_open() {
                return Ok(open_room.replica().read());
            }
            let is_new = !writing.is_subscribed;
            let opened = self.load_room(&open_room, &mut writing).await;
            if opened.is_err() && is_new {
                self.forget(&open_room, &mut writing).await;
            }
            return opened;
        }
    }

    pub(super) fn is_current(&self, open_room: &Arc<OpenRoom>) -> bool {
        let rooms = self.rooms();
        rooms
            .get(&open_room.name)
            .is_some_and(|other| Arc::ptr_eq(open_room, other))
    }

    pub(super) async fn forget(&self, open_room: &OpenRoom, writing: &mut WriterState) {
        self.rooms().remove(&open_room.name);
        if std::mem::take(&mut writing.is_subscribed) {
            self.subscriptions
                .remove_room(open_room.keys.partition)
                .await;
        }
    }

    /// Opens the room in Redis. Events published meanwhile are kept in the replica.
    pub(super) async fn load_room(
        &self,
        open_room: &OpenRoom,
        writing: &mut WriterState,
    ) -> Result<Opened, StoreError> {
        open_room.replica().open_again();
        self.subscribe(open_room, writing).await?;
        let script = script::open(&open_room.keys, &self.server_id, &Epoch::random());
        let reply = self
            .link
            .run_patiently(open_room.keys.slot, &script)
            .await?;
        let (epoch, offset, participants) = parsed::<(String, u64, Vec<String>)>(reply)?;
        let participants = self.participants(participants);
        let epoch = message::epoch(&epoch)?;
        let mut replica = open_room.replica();
        replica.opened((epoch, offset), participants);
        Ok(replica.read())
    }

    /// Subscribes to the room's partition. Repeats for a short time while the subscription fails.
    pub(super) async fn subscribe(
        &self,
        open_room: &OpenRoom,
        writing: &mut WriterState,
    ) -> Result<(), StoreError> {
        let (start, partition) = (Instant::now(), open_room.keys.partition);
        if !std::mem::replace(&mut writing.is_subscribed, true) {
            self.subscriptions.add_room(partition).await;
        }
        loop {
            match self.subscriptions.ensure_subscribed(partition).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.link.note_trouble(&error);
                    if !self.link.may_pass(&error, start) {
                        return Err(error.into());
                    }
                    tokio::time::sleep(SUBSCRIBE_PAUSE).await;
                }
            }
        }
    }

    /// Passes events from Redis to the replica.
    pub(super) fn receive(
        &self,
        open_room: &OpenRoom,
        epoch: &Epoch,
        entries: impl Iterator<Item = Arc<Entry>>,
    ) {
        for entry in entries {
            let received = open_room.replica().receive(epoch, entry);
            match received {
                Received::Fine => {}
                Received::Gap => {
                    self.metrics.gaps.inc();
                    self.wakeup.notify_one();
                }
                Received::Fork => return self.fork(open_room, None),
            }
        }
    }

    /// Notes that Redis has another history than readers of this server received. `restart` tells
    /// how they continue.
    pub(super) fn fork(&self, open_room: &OpenRoom, restart: Option<Restart>) {
        tracing::warn!(room = ?open_room.name, "store: the history started over, readers resync");
        self.metrics.forks.inc();
        open_room.replica().fork(restart);
    }

    /// Sends a message to the readers of this server, and to other servers if a connection is free.
    pub(super) fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        let open_room = self.open_room(room)?;
        let text = script::ephemeral(room, &self.server_id, &message);
        if !self.link.publish(open_room.keys.partition, &text) {
            self.metrics.unpublished.inc();
        }
        open_room.replica().publish(Arc::new(message));
        Ok(())
    }

    pub(super) async fn since(
        &self,
        room: &RoomName,
        epoch: &Epoch,
        offset: u64,
    ) -> Result<Missed, StoreError> {
        let open_room = self.open_room(room)?;
        {
            let replica = open_room.replica();
            let here = replica.since(epoch, offset);
            if replica.is_open() && (here != Missed::TooOld || replica.is_offline()) {
                return Ok(here);
            }
        }
        self.fetch(&open_room, epoch, offset).await
    }

    /// Reads events from Redis.
    pub(super) async fn fetch(
        &self,
        open_room: &OpenRoom,
        epoch: &Epoch,
        offset: u64,
    ) -> Result<Missed, StoreError> {
        let script = script::since(&open_room.keys, epoch, offset);
        let reply = self
            .link
            .run_patiently(open_room.keys.slot, &script)
            .await?;
        match parsed::<message::SinceReply>(reply)? {
            message::SinceReply::NoRoom => Err(StoreError::NoRoom(open_room.name.clone())),
            message::SinceReply::Old => Ok(Missed::TooOld),
            message::SinceReply::Entries(entries) => {
                let entry = |(id, text): (String, String)| {
                    let offset = message::offset(&id)?;
                    Some(Arc::new(
                        message::entry(offset, &text)
                            .unwrap_or_else(|| self.poisoned(open_room, offset)),
                    ))
                };
                let entries: Option<Vec<_>> = entries.into_iter().map(entry).collect();
                entries.map(Missed::Entries).ok_or_else(|| {
                    StoreError::Broken(format!(
                        "key '{}' holds entries that are not ours",
                        open_room.keys.history
                    ))
                })
            }
        }
    }

    /// Skips and counts an event that cannot be parsed.
    pub(super) fn poisoned(&self, open_room: &OpenRoom, offset: u64) -> Entry {
        self.metrics.poisoned.inc();
        tracing::warn!(room = ?open_room.name, offset, "store: an event cannot be read, skipped");
        message::unreadable(offset)
    }

    pub(super) fn participants(&self, texts: Vec<String>) -> Vec<Participant> {
        let read = |text: String| {
            let participant = serde_json::from_str(&text);
            participant.inspect_err(|error| {
                self.metrics.poisoned.inc();
                tracing::warn!(%error, "store: a participant cannot be read, skipped");
            })
        };
        texts
            .into_iter()
            .filter_map(|text| read(text).ok())
            .collect()
    }

    pub(super) async fn touch(
        &self,
        room: &RoomName,
        participants: &[ParticipantId],
        time: Duration,
    ) -> Result<(), StoreError> {
        let open_room = self.open_room(room)?;
        let script = script::touch(&open_room.keys, &self.server_id, participants, time);
        let seen = open_room.replica().offset();
        let reply = self.link.run(open_room.keys.slot, &script).await?;
        let is_behind = match parsed::<message::HistoryPosition>(reply)? {
            message::HistoryPosition::NoRoom => true,
            message::HistoryPosition::At(_, offset) if offset < seen => true,
            message::HistoryPosition::At(epoch, offset) => {
                if open_room.replica().is_behind(&epoch, offset) {
                    // The missing events may have been published just now.
                    tokio::time::sleep(GAP_PATIENCE).await;
                }
                open_room.replica().is_behind(&epoch, offset)
            }
        };
        if is_behind {
            let _writing = open_room.writing.lock().await;
            self.reconcile(&open_room).await?;
        }
        Ok(())
    }

    pub(super) async fn absent(&self, room: &RoomName) -> Result<Vec<Participant>, StoreError> {
        let open_room = self.open_room(room)?;
        let reply = self
            .link
            .run(open_room.keys.slot, &script::absent(&open_room.keys))
            .await?;
        let texts = parsed::<Vec<Option<String>>>(reply)?;
        Ok(self.participants(texts.into_iter().flatten().collect()))
    }

    pub(super) async fn claim(
        &self,
        room: &RoomName,
        participant: &ParticipantId,
    ) -> Result<(), StoreError> {
        let open_room = self.open_room(room)?;
        let script = script::claim(room, &open_room.keys, &self.server_id, participant);
        self.link
            .run_patiently(open_room.keys.slot, &script)
            .await?;
        Ok(())
    }

    pub(super) async fn close(&self, room: &RoomName) -> Result<(), StoreError> {
        let Ok(open_room) = self.open_room(room) else {
            return Ok(());
        };
        let mut writing = open_room.writing.lock().await;
        if !self.is_current(&open_room) || !open_room.replica().close() {
            return Ok(()); // the maintenance task closes it when all events are sent
        }
        self.forget(&open_room, &mut writing).await;
        match self
            .link
            .run(
                open_room.keys.slot,
                &script::close(&open_room.keys, &self.server_id),
            )
            .await
        {
            // Redis deletes the keys when their TTL expires.
            Ok(_)
            | Err(LinkError::Unavailable(_) | LinkError::Insecure(_) | LinkError::Refused(_)) => {
                Ok(())
            }
            Err(error @ LinkError::Broken(_)) => Err(error.into()),
        }
    }
}

impl OpenRoom {
    pub(super) fn new(name: RoomName) -> Self {
        Self {
            keys: RoomKeys::of(&name),
            name,
            writing: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            replica: Mutex::new(RoomReplica::opening()),
        }
    }

    pub(super) fn replica(&self) -> MutexGuard<'_, RoomReplica> {
        lock(&self.replica)
    }
}

/// Converts a script's reply.
pub(super) fn parsed<T: FromRedisValue>(reply: Value) -> Result<T, StoreError> {
    T::from_redis_value(reply).map_err(|error| {
        StoreError::Broken(format!("a script's reply has another format: {error}"))
    })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole values: each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
