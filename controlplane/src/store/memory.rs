//! The store of a single server: all data is in this process and ends with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};

use super::history_log::HistoryLog;
use super::{Appended, Opened, Store, StoreError, StoreFuture, Stored};
use crate::clock;
use crate::history::{Append, Change, Entry, Missed};
use crate::history::{Ephemeral, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};

/// The histories of rooms, by name.
#[derive(Debug, Default)]
pub struct MemoryStore {
    room_by_name: Mutex<HashMap<RoomName, StoredRoom>>,
}

#[derive(Debug)]
struct StoredRoom {
    log: HistoryLog,
    participant_by_id: BTreeMap<ParticipantId, Participant>,
    present_until: BTreeMap<ParticipantId, Instant>,
}

impl MemoryStore {
    /// A store without rooms.
    pub fn new() -> Self {
        Self::default()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, StoredRoom>> {
        // A panic elsewhere leaves whole records behind: each change is one step.
        self.room_by_name
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
        }
    }

    fn append(&mut self, append: Append) -> u64 {
        match append.change {
            Change::None => {}
            Change::Put(participant) => {
                let id = participant.participant.clone();
                self.participant_by_id.insert(id, participant);
            }
            Change::Remove(id) | Change::RemoveOurs(id) | Change::RemoveAbsent(id) => {
                self.participant_by_id.remove(&id);
                if !is_planted(Mutant::PresenceOutlivesParticipant) {
                    self.present_until.remove(&id);
                }
            }
        }
        let offset = self.log.offset() + 1;
        self.log.push(Arc::new(Entry {
            offset,
            event: append.event,
            to: append.to,
        }));
        offset
    }
}

impl Store for MemoryStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        let mut rooms = self.rooms();
        let stored = rooms.entry(room.clone()).or_insert_with(StoredRoom::new);
        let updates = stored.log.add_reader();
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
            let offset = self.with(room, |stored| stored.append(append))?;
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
            let until = clock::now() + time;
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
            let now = clock::now();
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

    /// Does nothing, because there is only one server.
    fn claim<'a>(
        &'a self,
        _room: &'a RoomName,
        _participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
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
    use super::MemoryStore;
    use crate::store::suite;

    #[tokio::test]
    async fn the_memory_store_passes_the_suite() {
        suite::run(&MemoryStore::new()).await;
    }
}
