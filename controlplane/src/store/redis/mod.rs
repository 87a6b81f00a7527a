//! The store on Redis, standalone or a cluster: many nodes serve the same rooms.
//!
//! Each method is one script in the room's slot. What happens is published to the room's partition, and
//! every node keeps a [`Mirror`] of the rooms it reads: numbers that are missing are asked for, and while
//! Redis cannot be reached the mirror goes on by itself and is reconciled afterwards ([`heal`]).

mod heal; // after an outage, a failover, or a gap
mod keeper; // what is looked after all the time
mod link; // connections and the way to a slot
mod message; // what is published
mod mirror; // what a node knows of a room
mod partition; // where a room is
mod script; // what is done in one step
mod servers; // which there are, and how they are spoken to
mod stranger; // what a server speaks that is not as named
mod subscriptions; // channels a node listens to
mod topology; // which server has which slot
mod trouble; // what goes wrong, and what it means

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::sync::{Notify, mpsc};

use self::link::Link;
use self::mirror::{Mirror, Received};
use self::partition::RoomKeys;
pub use self::servers::RedisServers;
use self::servers::Servers;
use self::subscriptions::Subscriptions;
use self::trouble::LinkError;
use super::{Append, Entry, Missed, Opened, Store, StoreError, StoreFuture};
use crate::entropy;
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;
use crate::room::Participant;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// This node among those that share the store.
    node: String,
    appends: AtomicU64,
    link: Arc<Link>,
    subscriptions: Subscriptions,
    room_by_name: Mutex<HashMap<RoomName, Arc<Known>>>,
    /// Something has to be repaired.
    alarm: Notify,
    metrics: StoreMetrics,
}

/// A room that this node reads.
#[derive(Debug)]
struct Known {
    name: RoomName,
    keys: RoomKeys,
    /// One writer at a time: while somebody reconciles, nobody appends.
    writing: tokio::sync::Mutex<Writing>,
    mirror: Mutex<Mirror>,
}

#[derive(Debug, Default)]
struct Writing {
    /// Its partition is listened to on its behalf.
    is_heard: bool,
}

/// What a node is called among the others: long enough to be no other's.
const NODE_CHARS: usize = 16;

impl RedisStore {
    /// Connects to `servers`. One that says no for good, or cannot be trusted, is an error; one that cannot
    /// be reached will be.
    pub async fn connect(
        servers: &RedisServers,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let link = Arc::new(Link::new(Servers::read(servers)?));
        let (pushes, pushed) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            node: entropy::alphanumeric(NODE_CHARS),
            appends: AtomicU64::new(0),
            subscriptions: Subscriptions::new(Arc::clone(&link), pushes),
            link,
            room_by_name: Mutex::default(),
            alarm: Notify::new(),
            metrics,
        });
        match shared.link.probe().await {
            Ok(()) => {}
            Err(LinkError::Refused(why) | LinkError::Insecure(why)) => {
                return Err(StoreError::Broken(why));
            }
            Err(LinkError::Unavailable(why)) => {
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
        *known.mirror() = Mirror::opening();
        if !writing.is_heard {
            writing.is_heard = true;
            self.subscriptions.want(known.keys.partition).await?;
        }
        let script = script::open(&known.keys, &self.node, &Epoch::random());
        let reply = self.link.run(known.keys.slot, &script).await?;
        let (epoch, offset, participants) = parsed::<(String, u64, Vec<String>)>(reply)?;
        let participants = self.participants(participants);
        let epoch = message::epoch(&epoch)?;
        let mut mirror = known.mirror();
        mirror.opened((epoch, offset), participants);
        Ok(mirror.read())
    }

    async fn append(&self, room: &RoomName, append: Append) -> Result<u64, StoreError> {
        let known = self.known(room)?;
        let _writing = known.writing.lock().await;
        let seq = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        if !known.mirror().is_island() {
            match self.try_append(&known, (seq, &append)).await {
                Ok(offset) => return Ok(offset),
                Err(StoreError::Unavailable(why)) => {
                    tracing::warn!(?room, %why, "store: unavailable, the room goes on by itself");
                    self.alarm.notify_one();
                }
                Err(error) => return Err(error),
            }
        }
        let offset = known.mirror().append(seq, append);
        self.metrics.island_events.inc();
        offset.ok_or_else(|| StoreError::Unavailable("too many events wait for it".into()))
    }

    /// Tells the store; the mirror, too, if it is the next event.
    async fn try_append(
        &self,
        known: &Known,
        (seq, append): (u64, &Append),
    ) -> Result<u64, StoreError> {
        for _ in 0..2 {
            let script = script::append(&known.name, &known.keys, &self.node, (seq, append));
            let reply = self.link.run(known.keys.slot, &script).await?;
            match parsed::<message::Appended>(reply)? {
                message::Appended::At(epoch, offset) => {
                    let (event, to) = (append.event.clone(), append.to.clone());
                    let entry = Arc::new(Entry { offset, event, to });
                    self.receive(known, &epoch, entry);
                    return Ok(offset);
                }
                message::Appended::NotOurs => {
                    return Err(StoreError::NotOurs(participant_of(append)));
                }
                // Redis came back empty: it is told what there was.
                message::Appended::NoRoom => self.reconcile(known).await?,
            }
        }
        Err(StoreError::Unavailable(
            "the room is gone as soon as it is restored".into(),
        ))
    }

    /// An event as the store numbered it.
    fn receive(&self, known: &Known, epoch: &Epoch, entry: Arc<Entry>) {
        let received = known.mirror().receive(epoch, entry);
        match received {
            Received::Fine => {}
            Received::Gap => {
                self.metrics.gaps.inc();
                self.alarm.notify_one();
            }
            Received::Fork => self.fork(known),
        }
    }

    /// The store's history is not the one this node has told its readers of.
    fn fork(&self, known: &Known) {
        tracing::warn!(room = ?known.name, "store: the history started over, readers resync");
        self.metrics.forks.inc();
        known.mirror().fork();
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
        let reply = self.link.run(known.keys.slot, &script).await?;
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
        let script = script::touch(&known.keys, &self.node, participants, time);
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
        let script = script::claim(room, &known.keys, &self.node, participant);
        self.link.run(known.keys.slot, &script).await?;
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
            .run(known.keys.slot, &script::close(&known.keys, &self.node))
            .await
        {
            // Its life in the store ends by itself.
            Ok(_) | Err(LinkError::Unavailable(_) | LinkError::Insecure(_)) => Ok(()),
            Err(error @ LinkError::Refused(_)) => Err(error.into()),
        }
    }
}

impl Known {
    fn new(name: RoomName) -> Self {
        Self {
            keys: RoomKeys::of(&name),
            name,
            writing: tokio::sync::Mutex::default(),
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

    fn append<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, u64> {
        Box::pin(self.shared.append(room, append))
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
            LinkError::Unavailable(why) | LinkError::Insecure(why) => Self::Unavailable(why),
            LinkError::Refused(why) => Self::Broken(why),
        }
    }
}

fn participant_of(append: &Append) -> ParticipantId {
    match &append.change {
        super::Change::Put(participant) => participant.participant.clone(),
        super::Change::Remove(participant)
        | super::Change::RemoveOurs(participant)
        | super::Change::RemoveAbsent(participant) => participant.clone(),
        super::Change::None => unreachable!("only leaving can be somebody else's business"),
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
