//! The store of a single server: all data is in this process and ends with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::record::Record;
use super::{Opened, Placed, Store, StoreError, StoreFuture, Stored};
use crate::clock;
use crate::history::{Append, Change, Entry, Missed};
use crate::history::{Ephemeral, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};

/// The histories of rooms, by name.
#[derive(Debug, Default)]
pub struct MemoryStore {
    room_by_name: Mutex<HashMap<RoomName, Kept>>,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    participant_by_id: BTreeMap<ParticipantId, Participant>,
    present_until: BTreeMap<ParticipantId, Instant>,
}

impl MemoryStore {
    /// A store without rooms.
    pub fn new() -> Self {
        Self::default()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Kept>> {
        // A panic elsewhere leaves whole records behind: each change is one step.
        self.room_by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, room: &RoomName, act: impl FnOnce(&mut Kept) -> T) -> Result<T, StoreError> {
        let mut rooms = self.rooms();
        let record = rooms
            .get_mut(room)
            .ok_or_else(|| StoreError::NoRoom(room.clone()))?;
        Ok(act(record))
    }
}

impl Kept {
    fn new() -> Self {
        Self {
            record: Record::new(Epoch::random(), 0),
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
                self.present_until.remove(&id);
            }
        }
        let offset = self.record.offset() + 1;
        self.record.push(Arc::new(Entry {
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
        let record = rooms.entry(room.clone()).or_insert_with(Kept::new);
        let news = record.record.read();
        let opened = Opened {
            epoch: record.record.epoch().clone(),
            offset: record.record.offset(),
            participants: record.participant_by_id.values().cloned().collect(),
            restart: None,
            news,
        };
        Box::pin(async move { Ok(opened) })
    }

    fn place<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Placed> {
        Box::pin(async move {
            let offset = self.with(room, |record| record.append(append))?;
            let stored = Stored::Yes;
            Ok(Placed { offset, stored })
        })
    }

    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        self.with(room, |kept| kept.record.say(Arc::new(message)))
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        Box::pin(async move { self.with(room, |record| record.record.since(epoch, offset)) })
    }

    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let until = clock::now() + time;
            self.with(room, |record| {
                for id in participants {
                    if record.participant_by_id.contains_key(id) {
                        record.present_until.insert(id.clone(), until);
                    }
                }
            })
        })
    }

    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>> {
        Box::pin(async move {
            let now = clock::now();
            self.with(room, |record| {
                let late = record
                    .present_until
                    .iter()
                    .filter(|(_, until)| **until < now);
                late.filter_map(|(id, _)| record.participant_by_id.get(id).cloned())
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
            if let Some(kept) = rooms.get_mut(room)
                && kept.participant_by_id.is_empty()
                && !kept.record.is_read()
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
