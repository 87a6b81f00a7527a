//! The store inside one process: all data ends with it. Several servers of one process can share it, each with a handle of
//! its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};

use super::history_log::HistoryLog;
use super::{Appended, Opened, RoomUpdate, Store, StoreError, StoreFuture, Stored};
use crate::clock;
use crate::history::{Append, Change, Entry, Missed};
use crate::history::{Ephemeral, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::limits::PRESENCE_TIME;

/// One server's handle to the histories of rooms.
#[derive(Debug)]
pub struct MemoryStore {
    /// Number of this server, unique among the handles.
    server: u32,
    shared: Arc<Shared>,
    /// Reads the monotonic clock.
    now: fn() -> Instant,
}

/// The data of all handles.
#[derive(Debug, Default)]
struct Shared {
    room_by_name: Mutex<HashMap<RoomName, StoredRoom>>,
    /// Number of handles that were made.
    servers: AtomicU32,
}

#[derive(Debug)]
struct StoredRoom {
    log: HistoryLog,
    participant_by_id: BTreeMap<ParticipantId, Participant>,
    present_until: BTreeMap<ParticipantId, Instant>,
    /// The server that serves a participant.
    server_by_participant: BTreeMap<ParticipantId, u32>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(clock::now)
    }
}

impl MemoryStore {
    /// A store without rooms.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store without rooms that reads the time from `now`.
    pub fn with_clock(now: fn() -> Instant) -> Self {
        Self {
            server: 0,
            shared: Arc::default(),
            now,
        }
    }

    /// A handle to the same rooms for another server.
    pub fn for_another_server(&self) -> Self {
        Self {
            server: self.shared.servers.fetch_add(1, Ordering::Relaxed) + 1,
            shared: Arc::clone(&self.shared),
            now: self.now,
        }
    }

    /// Epoch, offset and participants of a room; `None` if the room does not exist.
    pub fn peek(&self, room: &RoomName) -> Option<(Epoch, u64, Vec<Participant>)> {
        let rooms = self.rooms();
        let stored = rooms.get(room)?;
        let participants = stored.participant_by_id.values().cloned();
        Some((
            stored.log.epoch().clone(),
            stored.log.offset(),
            participants.collect(),
        ))
    }

    /// Number of participants with a presence, and of those with a server.
    pub fn entries(&self, room: &RoomName) -> (usize, usize) {
        let rooms = self.rooms();
        let of = |stored: &StoredRoom| {
            (
                stored.present_until.len(),
                stored.server_by_participant.len(),
            )
        };
        rooms.get(room).map_or((0, 0), of)
    }

    /// Number of rooms that the store has.
    pub fn room_count(&self) -> usize {
        self.rooms().len()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, StoredRoom>> {
        // A panic elsewhere leaves whole records behind: each change is one step.
        self.shared
            .room_by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        room: &RoomName,
        act: impl FnOnce(&mut StoredRoom) -> T,
    ) -> Result<T, StoreError> {
        let mut rooms = self.rooms();
        let stored = rooms
            .get_mut(room)
            .ok_or_else(|| StoreError::NoRoom(room.clone()))?;
        Ok(act(stored))
    }
}

impl StoredRoom {
    fn new() -> Self {
        Self {
            log: HistoryLog::new(Epoch::random(), 0),
            participant_by_id: BTreeMap::new(),
            present_until: BTreeMap::new(),
            server_by_participant: BTreeMap::new(),
        }
    }

    fn append(&mut self, append: Append, server: u32, now: Instant) -> Result<u64, StoreError> {
        match append.change {
            Change::None => {}
            Change::Put(participant) => self.put(participant, server, now),
            Change::Remove(id) => self.remove(&id),
            Change::RemoveOurs(id) => {
                let serves = self.server_by_participant.get(&id);
                if serves.is_some_and(|serves| *serves != server) {
                    return Err(StoreError::NotOurs(id));
                }
                self.remove(&id);
            }
            Change::RemoveAbsent(id) => {
                let until = self.present_until.get(&id);
                let is_present = until.is_some_and(|until| *until >= now);
                if is_present || !self.participant_by_id.contains_key(&id) {
                    return Err(StoreError::NotOurs(id));
                }
                self.remove(&id);
            }
        }
        let offset = self.log.offset() + 1;
        self.log.push(Arc::new(Entry {
            offset,
            event: append.event,
            to: append.to,
        }));
        Ok(offset)
    }

    fn put(&mut self, participant: Participant, server: u32, now: Instant) {
        let id = participant.participant.clone();
        if self
            .participant_by_id
            .insert(id.clone(), participant)
            .is_none()
        {
            self.present_until.insert(id.clone(), now + PRESENCE_TIME);
            self.server_by_participant.insert(id, server);
        }
    }

    fn remove(&mut self, id: &ParticipantId) {
        self.participant_by_id.remove(id);
        if !is_planted(Mutant::PresenceOutlivesParticipant) {
            self.present_until.remove(id);
        }
        self.server_by_participant.remove(id);
    }
}

impl Store for MemoryStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        let mut rooms = self.rooms();
        let stored = rooms.entry(room.clone()).or_insert_with(StoredRoom::new);
        let updates = stored.log.add_reader(self.server);
        let opened = Opened {
            epoch: stored.log.epoch().clone(),
            offset: stored.log.offset(),
            participants: stored.participant_by_id.values().cloned().collect(),
            restart: None,
            updates,
        };
        Box::pin(async move { Ok(opened) })
    }

    fn append_event<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Appended> {
        Box::pin(async move {
            let (server, now) = (self.server, (self.now)());
            let offset = self.with(room, |stored| stored.append(append, server, now))??;
            let stored = Stored::Yes;
            Ok(Appended { offset, stored })
        })
    }

    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        self.with(room, |stored| stored.log.publish(Arc::new(message)))
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        Box::pin(async move { self.with(room, |stored| stored.log.since(epoch, offset)) })
    }

    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let until = (self.now)() + time;
            self.with(room, |stored| {
                for id in participants {
                    if stored.participant_by_id.contains_key(id) {
                        stored.present_until.insert(id.clone(), until);
                    }
                }
            })
        })
    }

    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>> {
        Box::pin(async move {
            let now = (self.now)();
            self.with(room, |stored| {
                let late = stored
                    .present_until
                    .iter()
                    .filter(|(_, until)| **until < now);
                late.filter_map(|(id, _)| stored.participant_by_id.get(id).cloned())
                    .collect()
            })
        })
    }

    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (server, id) = (self.server, participant.clone());
            self.with(room, |stored| {
                stored.server_by_participant.insert(id.clone(), server);
                stored.log.send_to_others(server, &RoomUpdate::Taken(id));
            })
        })
    }

    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut rooms = self.rooms();
            if let Some(stored) = rooms.get_mut(room)
                && stored.participant_by_id.is_empty()
                && !stored.log.has_reader()
            {
                rooms.remove(room);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite;

    #[tokio::test]
    async fn the_memory_store_passes_the_suite() {
        suite::run(&MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn a_participant_belongs_to_the_server_that_claimed_it() {
        let first = MemoryStore::new();
        let second = first.for_another_server();
        let room = "r".parse().unwrap();
        let ann = suite::participant("ann");
        let mut of_first = first.open(&room).await.unwrap();
        let mut of_second = second.open(&room).await.unwrap();
        first.append(&room, suite::joined(&ann)).await.unwrap();
        second.claim(&room, &ann.participant).await.unwrap();
        let refused = first.append(&room, suite::left_if_ours(&ann)).await;
        assert_eq!(refused, Err(StoreError::NotOurs(ann.participant.clone())));
        let joined = of_first.updates.recv().await;
        assert_eq!(of_second.updates.recv().await, joined);
        let taken = Some(RoomUpdate::Taken(ann.participant.clone()));
        assert_eq!(of_first.updates.recv().await, taken);
        second
            .append(&room, suite::left_if_ours(&ann))
            .await
            .unwrap();
        let left = of_second.updates.recv().await;
        assert!(matches!(left, Some(RoomUpdate::Entry(_))), "{left:?}");
        assert!(first.peek(&room).unwrap().2.is_empty());
    }
}
