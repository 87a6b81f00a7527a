//! The embedded store: everything in this process, gone with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Append, Change, Entry, Missed, Opened, Store, StoreError, StoreFuture};
use crate::clock;
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::limits::HISTORY_EVENTS;
use crate::room::Participant;

/// Rooms by name.
#[derive(Debug, Default)]
pub struct MemoryStore {
    room_by_name: Mutex<HashMap<RoomName, Record>>,
}

#[derive(Debug)]
struct Record {
    epoch: Epoch,
    offset: u64,
    history: VecDeque<Arc<Entry>>,
    participant_by_id: BTreeMap<ParticipantId, Participant>,
    present_until: BTreeMap<ParticipantId, Instant>,
    readers: Vec<mpsc::Sender<Arc<Entry>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Record>> {
        // A panic elsewhere leaves whole records behind: each change is one step.
        self.room_by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        room: &RoomName,
        act: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, StoreError> {
        let mut rooms = self.rooms();
        let record = rooms
            .get_mut(room)
            .ok_or_else(|| StoreError::NoRoom(room.clone()))?;
        Ok(act(record))
    }
}

impl Record {
    fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            offset: 0,
            history: VecDeque::new(),
            participant_by_id: BTreeMap::new(),
            present_until: BTreeMap::new(),
            readers: Vec::new(),
        }
    }

    fn append(&mut self, append: Append) -> u64 {
        self.offset += 1;
        match append.change {
            Change::None => {}
            Change::Put(participant) => {
                let id = participant.participant.clone();
                self.participant_by_id.insert(id, participant);
            }
            Change::Remove(id) => {
                self.participant_by_id.remove(&id);
                self.present_until.remove(&id);
            }
        }
        let entry = Arc::new(Entry {
            offset: self.offset,
            event: append.event,
            to: append.to,
        });
        if self.history.len() == HISTORY_EVENTS {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(&entry));
        // A reader whose queue is full is cut off, and catches up with `since`.
        self.readers
            .retain(|reader| reader.try_send(Arc::clone(&entry)).is_ok());
        self.offset
    }

    fn since(&self, epoch: &Epoch, offset: u64) -> Missed {
        let oldest = self.offset - self.history.len() as u64;
        if *epoch != self.epoch || !(oldest..=self.offset).contains(&offset) {
            return Missed::TooOld;
        }
        let seen = usize::try_from(offset - oldest).expect("the history's length is a usize");
        Missed::Entries(self.history.iter().skip(seen).cloned().collect())
    }
}

impl Store for MemoryStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        let mut rooms = self.rooms();
        let record = rooms.entry(room.clone()).or_insert_with(Record::new);
        let (reader, entries) = mpsc::channel(HISTORY_EVENTS);
        record.readers.push(reader);
        let opened = Opened {
            epoch: record.epoch.clone(),
            offset: record.offset,
            participants: record.participant_by_id.values().cloned().collect(),
            entries,
        };
        Box::pin(async move { Ok(opened) })
    }

    fn append<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, u64> {
        Box::pin(async move { self.with(room, |record| record.append(append)) })
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        Box::pin(async move { self.with(room, |record| record.since(epoch, offset)) })
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

    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut rooms = self.rooms();
            if let Some(record) = rooms.get_mut(room) {
                record.readers.retain(|reader| !reader.is_closed());
                if record.participant_by_id.is_empty() && record.readers.is_empty() {
                    rooms.remove(room);
                }
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
