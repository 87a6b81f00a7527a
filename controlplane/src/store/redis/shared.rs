//! State that all methods of the store on Redis share: the open rooms, and the connections.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tokio::sync::{Notify, oneshot};

use super::link::Link;
use super::mirror::{Mirror, Received};
use super::partition::RoomKeys;
use super::subscriptions::Subscriptions;
use super::trouble::LinkError;
use super::{message, script};
use crate::history::{Append, Entry, Ephemeral, Missed, Participant, Restart};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;
use crate::store::{Opened, Placed, StoreError};

/// The open rooms of this server, and its connections to Redis.
#[derive(Debug)]
pub(super) struct Shared {
    /// Random id of this server in the store.
    pub(super) server_id: String,
    pub(super) appends: AtomicU64,
    pub(super) link: Arc<Link>,
    pub(super) subscriptions: Subscriptions,
    pub(super) room_by_name: Mutex<HashMap<RoomName, Arc<Known>>>,
    /// Wakes the maintenance task at once.
    pub(super) alarm: Notify,
    pub(super) metrics: StoreMetrics,
}

/// A room that has a reader on this server.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: RoomName,
    pub(super) keys: RoomKeys,
    /// Write lock: no append during a reconciliation.
    pub(super) writing: tokio::sync::Mutex<Writing>,
    /// Appends that were not sent yet, oldest first.
    pub(super) waiting: Mutex<VecDeque<Waiting>>,
    pub(super) mirror: Mutex<Mirror>,
}

#[derive(Debug, Default)]
pub(super) struct Writing {
    /// True if this room counts as a subscriber of its partition.
    pub(super) is_heard: bool,
}

/// An append that was not sent yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) append: Append,
    pub(super) answer: oneshot::Sender<Result<Placed, StoreError>>,
}

/// Pause before a failed subscription is repeated.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);
/// Time to wait for missing events that later events overtook. Then they are requested.
pub(super) const GAP_PATIENCE: Duration = Duration::from_millis(50);

impl Shared {
    /// State without rooms.
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
            alarm: Notify::new(),
            metrics,
        }
    }

    pub(super) fn known(&self, room: &RoomName) -> Result<Arc<Known>, StoreError> {
        let known = self.rooms().get(room).cloned();
        known.ok_or_else(|| StoreError::NoRoom(room.clone()))
    }

    pub(super) fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<Known>>> {
        lock(&self.room_by_name)
    }

    pub(super) async fn open(&self, room: &RoomName) -> Result<Opened, StoreError> {
        loop {
            let known = {
                let mut rooms = self.rooms();
                let known = rooms
                    .entry(room.clone())
                    .or_insert_with(|| Arc::new(Known::new(room.clone())));
                Arc::clone(known)
            };
            let mut writing = known.writing.lock().await;
            // Another task may have closed the room meanwhile.
            if !self.is_known(&known) {
                continue;
            }
            if known.mirror().is_open() {
                return Ok(known.mirror().read());
            }
            let is_new = !writing.is_heard;
            let opened = self.open_known(&known, &mut writing).await;
            if opened.is_err() && is_new {
                self.forget(&known, &mut writing).await;
            }
            return opened;
        }
    }

    pub(super) fn is_known(&self, known: &Arc<Known>) -> bool {
        let rooms = self.rooms();
        rooms
            .get(&known.name)
            .is_some_and(|other| Arc::ptr_eq(known, other))
    }

    pub(super) async fn forget(&self, known: &Known, writing: &mut Writing) {
        self.rooms().remove(&known.name);
        if std::mem::take(&mut writing.is_heard) {
            self.subscriptions.release(known.keys.partition).await;
        }
    }

    /// Opens the room in Redis. Events published meanwhile are kept in the replica.
    pub(super) async fn open_known(
        &self,
        known: &Known,
        writing: &mut Writing,
    ) -> Result<Opened, StoreError> {
        known.mirror().open_again();
        self.hear(known, writing).await?;
        let script = script::open(&known.keys, &self.server_id, &Epoch::random());
        let reply = self.link.run_patiently(known.keys.slot, &script).await?;
        let (epoch, offset, participants) = parsed::<(String, u64, Vec<String>)>(reply)?;
        let participants = self.participants(participants);
        let epoch = message::epoch(&epoch)?;
        let mut mirror = known.mirror();
        mirror.opened((epoch, offset), participants);
        Ok(mirror.read())
    }

    /// Subscribes to the room's partition. Repeats for a short time while the subscription fails.
    pub(super) async fn hear(
        &self,
        known: &Known,
        writing: &mut Writing,
    ) -> Result<(), StoreError> {
        let (start, partition) = (Instant::now(), known.keys.partition);
        if !std::mem::replace(&mut writing.is_heard, true) {
            self.subscriptions.want(partition).await;
        }
        loop {
            match self.subscriptions.ensure(partition).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.link.note(&error);
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
        known: &Known,
        epoch: &Epoch,
        entries: impl Iterator<Item = Arc<Entry>>,
    ) {
        for entry in entries {
            let received = known.mirror().receive(epoch, entry);
            match received {
                Received::Fine => {}
                Received::Gap => {
                    self.metrics.gaps.inc();
                    self.alarm.notify_one();
                }
                Received::Fork => return self.fork(known, None),
            }
        }
    }

    /// Notes that Redis has another history than readers of this server received. `restart` tells
    /// how they continue.
    pub(super) fn fork(&self, known: &Known, restart: Option<Restart>) {
        tracing::warn!(room = ?known.name, "store: the history started over, readers resync");
        self.metrics.forks.inc();
        known.mirror().fork(restart);
    }

    /// Sends a message to the readers of this server, and to other servers if a connection is free.
    pub(super) fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        let known = self.known(room)?;
        let text = script::ephemeral(room, &self.server_id, &message);
        if !self.link.publish(known.keys.partition, &text) {
            self.metrics.unpublished.inc();
        }
        known.mirror().say(Arc::new(message));
        Ok(())
    }

    pub(super) async fn since(
        &self,
        room: &RoomName,
        epoch: &Epoch,
        offset: u64,
    ) -> Result<Missed, StoreError> {
        let known = self.known(room)?;
        {
            let mirror = known.mirror();
            let here = mirror.since(epoch, offset);
            if mirror.is_open() && (here != Missed::TooOld || mirror.is_island()) {
                return Ok(here);
            }
        }
        self.fetch(&known, epoch, offset).await
    }

    /// Reads events from Redis.
    pub(super) async fn fetch(
        &self,
        known: &Known,
        epoch: &Epoch,
        offset: u64,
    ) -> Result<Missed, StoreError> {
        let script = script::since(&known.keys, epoch, offset);
        let reply = self.link.run_patiently(known.keys.slot, &script).await?;
        match parsed::<message::Since>(reply)? {
            message::Since::NoRoom => Err(StoreError::NoRoom(known.name.clone())),
            message::Since::Old => Ok(Missed::TooOld),
            message::Since::Entries(entries) => {
                let entry = |(id, text): (String, String)| {
                    let offset = message::offset(&id)?;
                    Some(Arc::new(
                        message::entry(offset, &text)
                            .unwrap_or_else(|| self.poisoned(known, offset)),
                    ))
                };
                let entries: Option<Vec<_>> = entries.into_iter().map(entry).collect();
                entries.map(Missed::Entries).ok_or_else(|| {
                    StoreError::Broken(format!(
                        "key '{}' holds entries that are not ours",
                        known.keys.history
                    ))
                })
            }
        }
    }

    /// Skips and counts an event that cannot be parsed.
    pub(super) fn poisoned(&self, known: &Known, offset: u64) -> Entry {
        self.metrics.poisoned.inc();
        tracing::warn!(room = ?known.name, offset, "store: an event cannot be read, skipped");
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
        let known = self.known(room)?;
        let script = script::touch(&known.keys, &self.server_id, participants, time);
        let seen = known.mirror().offset();
        let reply = self.link.run(known.keys.slot, &script).await?;
        let is_behind = match parsed::<message::Place>(reply)? {
            message::Place::NoRoom => true,
            message::Place::At(_, offset) if offset < seen => true,
            message::Place::At(epoch, offset) => {
                if known.mirror().is_behind(&epoch, offset) {
                    // The missing events may have been published just now.
                    tokio::time::sleep(GAP_PATIENCE).await;
                }
                known.mirror().is_behind(&epoch, offset)
            }
        };
        if is_behind {
            let _writing = known.writing.lock().await;
            self.reconcile(&known).await?;
        }
        Ok(())
    }

    pub(super) async fn absent(&self, room: &RoomName) -> Result<Vec<Participant>, StoreError> {
        let known = self.known(room)?;
        let reply = self
            .link
            .run(known.keys.slot, &script::absent(&known.keys))
            .await?;
        let texts = parsed::<Vec<Option<String>>>(reply)?;
        Ok(self.participants(texts.into_iter().flatten().collect()))
    }

    pub(super) async fn claim(
        &self,
        room: &RoomName,
        participant: &ParticipantId,
    ) -> Result<(), StoreError> {
        let known = self.known(room)?;
        let script = script::claim(room, &known.keys, &self.server_id, participant);
        self.link.run_patiently(known.keys.slot, &script).await?;
        Ok(())
    }

    pub(super) async fn close(&self, room: &RoomName) -> Result<(), StoreError> {
        let Ok(known) = self.known(room) else {
            return Ok(());
        };
        let mut writing = known.writing.lock().await;
        if !self.is_known(&known) || !known.mirror().close() {
            return Ok(()); // an island is closed by the keeper
        }
        self.forget(&known, &mut writing).await;
        match self
            .link
            .run(
                known.keys.slot,
                &script::close(&known.keys, &self.server_id),
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

impl Known {
    pub(super) fn new(name: RoomName) -> Self {
        Self {
            keys: RoomKeys::of(&name),
            name,
            writing: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            mirror: Mutex::new(Mirror::opening()),
        }
    }

    pub(super) fn mirror(&self) -> MutexGuard<'_, Mirror> {
        lock(&self.mirror)
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
