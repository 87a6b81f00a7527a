//! One room's latest events and the readers of the room in this process. The memory store uses it,
//! and so does a server's replica of a room in Redis.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::RoomUpdate;
use crate::history::Ephemeral;
use crate::history::{Entry, Missed};
use crate::ids::Epoch;
use crate::limits::HISTORY_EVENTS;

/// The latest [`HISTORY_EVENTS`] events of a room, and the channels of its readers.
#[derive(Debug)]
pub(super) struct HistoryLog {
    epoch: Epoch,
    offset: u64,
    history: VecDeque<Arc<Entry>>,
    readers: Vec<Reader>,
}

/// A reader of the room.
#[derive(Debug)]
struct Reader {
    /// Number of the server of the reader; see [`HistoryLog::send_to_others`].
    server: u32,
    updates: mpsc::Sender<RoomUpdate>,
}

impl HistoryLog {
    /// An empty history. Its next event gets offset `offset + 1`.
    pub(super) fn new(epoch: Epoch, offset: u64) -> Self {
        Self {
            epoch,
            offset,
            history: VecDeque::new(),
            readers: Vec::new(),
        }
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Offset of the latest event.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The kept events, oldest first. The last one has [`Self::offset`].
    pub(super) fn history(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.history.iter()
    }

    /// The event with this offset, if it is kept.
    pub(super) fn at(&self, offset: u64) -> Option<&Arc<Entry>> {
        let back = usize::try_from(self.offset.checked_sub(offset)?).ok()?;
        let index = self.history.len().checked_sub(back + 1)?;
        self.history.get(index)
    }

    /// Adds the next event and sends it to every reader. A reader with a full queue is removed, and catches up with
    /// `since`.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        debug_assert_eq!(entry.offset, self.offset + 1);
        self.offset = entry.offset;
        if self.history.len() == HISTORY_EVENTS {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(&entry));
        self.send(&RoomUpdate::Entry(entry));
    }

    /// Sends a message outside the history to every reader. A reader with a full queue misses the
    /// message.
    pub(super) fn publish(&mut self, message: Arc<Ephemeral>) {
        for reader in &self.readers {
            // A closed reader is removed with the next event.
            let _ = reader
                .updates
                .try_send(RoomUpdate::Message(Arc::clone(&message)));
        }
    }

    /// Sends `updates` to every reader. A reader with a full queue is removed.
    pub(super) fn send(&mut self, updates: &RoomUpdate) {
        self.readers
            .retain(|reader| reader.updates.try_send(updates.clone()).is_ok());
    }

    /// Sends `update` to the readers of all servers but `server`. A reader with a full queue is removed.
    pub(super) fn send_to_others(&mut self, server: u32, update: &RoomUpdate) {
        self.readers.retain(|reader| {
            reader.server == server || reader.updates.try_send(update.clone()).is_ok()
        });
    }

    /// Events after `offset` of `epoch`.
    pub(super) fn since(&self, epoch: &Epoch, offset: u64) -> Missed {
        let oldest = self.offset - self.history.len() as u64;
        if *epoch != self.epoch || !(oldest..=self.offset).contains(&offset) {
            return Missed::TooOld;
        }
        let seen = usize::try_from(offset - oldest).expect("the history's length is a usize");
        Missed::Entries(self.history.iter().skip(seen).cloned().collect())
    }

    /// Adds a reader of `server`, which gets every later event.
    pub(super) fn add_reader(&mut self, server: u32) -> mpsc::Receiver<RoomUpdate> {
        let (updates, entries) = mpsc::channel(HISTORY_EVENTS);
        self.readers.push(Reader { server, updates });
        entries
    }

    /// True while the room has a reader.
    pub(super) fn has_reader(&mut self) -> bool {
        self.readers.retain(|reader| !reader.updates.is_closed());
        !self.readers.is_empty()
    }

    /// Closes the channels of all readers. They open the room again.
    pub(super) fn remove_readers(&mut self) {
        self.readers.clear();
    }
}
