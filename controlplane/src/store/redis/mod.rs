//! The store on Redis, standalone or a cluster: many servers serve the same rooms.
//!
//! Each method is one script in the room's slot. What happens is published to the room's partition, and
//! every server keeps a [`Mirror`] of the rooms it reads: numbers that are missing are asked for, and while
//! Redis cannot be reached the mirror goes on by itself and is reconciled afterwards ([`heal`]).

mod append; // events to the store, many at once
mod heal; // after an outage, a failover, or a gap
mod island; // what the store could not be told yet
mod keeper; // what is looked after all the time
mod link; // connections and the way to a slot
mod message; // what is published
mod mirror; // what a server knows of a room
mod partition; // where a room is
mod pipeline; // one connection, commands that wait sent together
mod rights; // what the user must be permitted
mod script; // what is done in one step
mod sentinel; // who says which server is the master
mod sentinel_url; // how they are named
mod server; // one server, and when it is tried again
mod servers; // which there are, and how they are spoken to
mod stranger; // what a server speaks that is not as named
mod subscriptions; // channels a server listens to
mod topology; // which server has which slot
mod trouble; // what goes wrong, and what it means

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tokio::sync::{Notify, mpsc};

use self::link::Link;
use self::mirror::{Mirror, Received};
use self::partition::RoomKeys;
pub use self::sentinel_url::{is_encrypted as are_encrypted_sentinels, is_one as are_sentinels};
pub use self::servers::RedisServers;
use self::servers::Servers;
use self::subscriptions::Subscriptions;
use self::trouble::LinkError;
use super::{Opened, Placed, Store, StoreError, StoreFuture};
use crate::entropy;
use crate::history::{Append, Entry, Missed, Restart};
use crate::history::{Ephemeral, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// This server among those that share the store.
    server_id: String,
    appends: AtomicU64,
    link: Arc<Link>,
    subscriptions: Subscriptions,
    room_by_name: Mutex<HashMap<RoomName, Arc<Known>>>,
    /// Something has to be repaired.
    alarm: Notify,
    metrics: StoreMetrics,
}

/// A room that this server reads.
#[derive(Debug)]
struct Known {
    name: RoomName,
    keys: RoomKeys,
    /// One writer at a time: while somebody reconciles, nobody appends.
    writing: tokio::sync::Mutex<Writing>,
    /// Appends, oldest first, that no call was made for.
    waiting: Mutex<VecDeque<append::Waiting>>,
    mirror: Mutex<Mirror>,
}

#[derive(Debug, Default)]
struct Writing {
    /// Its partition is listened to on its behalf.
    is_heard: bool,
}

/// Before a channel is subscribed to again that could not be.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);
/// Characters of a server's id among the servers that share the store.
const SERVER_ID_CHARS: usize = 16;

impl RedisStore {
    /// Connects to `servers`. One that says no for good, or cannot be trusted, is an error; one that cannot
    /// be reached will be.
    pub async fn connect(
        servers: &RedisServers,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let server_id = entropy::alphanumeric(SERVER_ID_CHARS);
        let servers =
            Servers::read(servers).map_err(|error| StoreError::Broken(error.to_string()))?;
        let link = Arc::new(Link::new(servers, server_id.clone()));
        let (pushes, pushed) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            server_id,
            appends: AtomicU64::new(0),
            subscriptions: Subscriptions::new(Arc::clone(&link), pushes),
            link,
            room_by_name: Mutex::default(),
            alarm: Notify::new(),
            metrics,
        });
        match shared.link.probe().await {
            Ok(()) => {}
            Err(LinkError::Refused(why) | LinkError::Insecure(why) | LinkError::Broken(why)) => {
                return Err(StoreError::Broken(why));
            }
            Err(error @ LinkError::Unavailable(_)) => {
                shared.link.note(&error);
                let why = error.to_string();
                if let Some(why) = shared.link.mistaken().await {
                    return Err(StoreError::Broken(why));
                }
                tracing::warn!(%why, "store: unavailable, trying on");
            }
        }
        keeper::start(&shared, pushed);
        Ok(Self { shared })
    }
}

impl Shared {
    fn known(&self, room: &RoomName) -> Result<Arc<Known>, StoreError> {
        let known = self.rooms().get(room).cloned();
        known.ok_or_else(|| StoreError::NoRoom(room.clone()))
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<Known>>> {
        lock(&self.room_by_name)
    }

    async fn open(&self, room: &RoomName) -> Result<Opened, StoreError> {
        loop {
            let known = {
                let mut rooms = self.rooms();
                let known = rooms
                    .entry(room.clone())
                    .or_insert_with(|| Arc::new(Known::new(room.clone())));
                Arc::clone(known)
            };
            let mut writing = known.writing.lock().await;
            // It may have been closed while this waited.
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

    fn is_known(&self, known: &Arc<Known>) -> bool {
        let rooms = self.rooms();
        rooms
            .get(&known.name)
            .is_some_and(|other| Arc::ptr_eq(known, other))
    }

    async fn forget(&self, known: &Known, writing: &mut Writing) {
        self.rooms().remove(&known.name);
        if std::mem::take(&mut writing.is_heard) {
            self.subscriptions.release(known.keys.partition).await;
        }
    }

    /// Asks the store; what is published meanwhile waits in the mirror.
    async fn open_known(&self, known: &Known, writing: &mut Writing) -> Result<Opened, StoreError> {
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

    /// Listens to the room's partition; tries on for a moment where nobody publishes.
    async fn hear(&self, known: &Known, writing: &mut Writing) -> Result<(), StoreError> {
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

    /// Events as the store numbered them.
    fn receive(&self, known: &Known, epoch: &Epoch, entries: impl Iterator<Item = Arc<Entry>>) {
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

    /// The store's history is not the one this server has told its readers of; `restart` is how it goes on from that.
    fn fork(&self, known: &Known, restart: Option<Restart>) {
        tracing::warn!(room = ?known.name, "store: the history started over, readers resync");
        self.metrics.forks.inc();
        known.mirror().fork(restart);
    }

    /// Tells readers here, and those of other servers if that is possible at once.
    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        let known = self.known(room)?;
        let text = script::ephemeral(room, &self.server_id, &message);
        if !self.link.publish(known.keys.partition, &text) {
            self.metrics.unpublished.inc();
        }
        known.mirror().say(Arc::new(message));
        Ok(())
    }

    async fn since(
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

    /// The same from the store.
    async fn fetch(&self, known: &Known, epoch: &Epoch, offset: u64) -> Result<Missed, StoreError> {
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

    /// An event that cannot be read is skipped, and counted.
    fn poisoned(&self, known: &Known, offset: u64) -> Entry {
        self.metrics.poisoned.inc();
        tracing::warn!(room = ?known.name, offset, "store: an event cannot be read, skipped");
        message::unreadable(offset)
    }

    fn participants(&self, texts: Vec<String>) -> Vec<Participant> {
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

    async fn touch(
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
                    // What was published just now is on its way.
                    tokio::time::sleep(keeper::GAP_PATIENCE).await;
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

    async fn absent(&self, room: &RoomName) -> Result<Vec<Participant>, StoreError> {
        let known = self.known(room)?;
        let reply = self
            .link
            .run(known.keys.slot, &script::absent(&known.keys))
            .await?;
        let texts = parsed::<Vec<Option<String>>>(reply)?;
        Ok(self.participants(texts.into_iter().flatten().collect()))
    }

    async fn claim(&self, room: &RoomName, participant: &ParticipantId) -> Result<(), StoreError> {
        let known = self.known(room)?;
        let script = script::claim(room, &known.keys, &self.server_id, participant);
        self.link.run_patiently(known.keys.slot, &script).await?;
        Ok(())
    }

    async fn close(&self, room: &RoomName) -> Result<(), StoreError> {
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
            // Its life in the store ends by itself.
            Ok(_)
            | Err(LinkError::Unavailable(_) | LinkError::Insecure(_) | LinkError::Refused(_)) => {
                Ok(())
            }
            Err(error @ LinkError::Broken(_)) => Err(error.into()),
        }
    }
}

impl Known {
    fn new(name: RoomName) -> Self {
        Self {
            keys: RoomKeys::of(&name),
            name,
            writing: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            mirror: Mutex::new(Mirror::opening()),
        }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        lock(&self.mirror)
    }
}

impl Store for RedisStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        Box::pin(self.shared.open(room))
    }

    fn place<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Placed> {
        Box::pin(self.shared.place(room, append))
    }

    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        self.shared.publish(room, message)
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        Box::pin(self.shared.since(room, epoch, offset))
    }

    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.touch(room, participants, time))
    }

    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>> {
        Box::pin(self.shared.absent(room))
    }

    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.claim(room, participant))
    }

    fn degraded(&self) -> Option<String> {
        self.shared.link.trouble()
    }

    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.close(room))
    }
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        match error {
            // What is set up otherwise than at start can be put right.
            LinkError::Unavailable(why) | LinkError::Insecure(why) | LinkError::Refused(why) => {
                Self::Unavailable(why)
            }
            LinkError::Broken(why) => Self::Broken(why),
        }
    }
}

/// A script's reply, in the form it has.
fn parsed<T: FromRedisValue>(reply: Value) -> Result<T, StoreError> {
    T::from_redis_value(reply)
        .map_err(|error| StoreError::Broken(format!("a script replied in another form: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
