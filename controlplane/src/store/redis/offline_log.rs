//! Events of a room that wait on this server while Redis is unavailable, and the offset up to which
//! both histories agree.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::history::Roster;
use crate::history::{Append, Entry, Restart};
use crate::limits::{APPEND_EVENTS, HISTORY_EVENTS, OFFLINE_EVENTS};
use crate::store::history_log::HistoryLog;

/// Events of one room that Redis does not have yet.
#[derive(Debug)]
pub(super) struct OfflineLog {
    /// The room as Redis last confirmed it.
    base: Base,
    /// Waiting events, oldest first. At most [`OFFLINE_EVENTS`].
    pending: VecDeque<PendingEvent>,
    /// Up to this offset, readers received the same history that Redis has. If it is below
    /// `base.offset()`, the histories have forked.
    agreed: u64,
    /// Offsets in Redis, after `agreed`, of events that readers of this server received under other
    /// offsets.
    renumbered: Vec<u64>,
}

/// A room as Redis has it, or had it before the outage.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Participants after the last event.
    pub(super) roster: Roster,
    /// Latest events of the room, in order.
    pub(super) history: VecDeque<Arc<Entry>>,
}

impl Base {
    /// Offset of the last event.
    pub(super) fn offset(&self) -> u64 {
        self.roster.offset()
    }
}

/// An event that waits for Redis.
#[derive(Debug)]
pub(super) struct PendingEvent {
    /// Sequence number under which it was sent before; Redis may have accepted it. `None` if it was
    /// not sent.
    pub(super) seq: Option<u64>,
    pub(super) append: Append,
    /// Resolved when Redis has the event.
    pub(super) stored: oneshot::Sender<()>,
}

/// Events that are sent to Redis with one call.
#[derive(Debug)]
pub(super) struct Batch {
    /// Sequence number, of this server, of the first event.
    pub(super) seq: u64,
    pub(super) appends: Vec<Append>,
}

impl OfflineLog {
    /// `base` is the room as Redis last confirmed it.
    pub(super) fn new(base: Base) -> Self {
        Self {
            agreed: base.offset(),
            base,
            pending: VecDeque::new(),
            renumbered: Vec::new(),
        }
    }

    /// The room as Redis should have it.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Adds an event. False if [`OFFLINE_EVENTS`] wait already.
    pub(super) fn wait(&mut self, pending: PendingEvent) -> bool {
        let fits = self.pending.len() < OFFLINE_EVENTS;
        if fits {
            self.pending.push_back(pending);
        }
        fits
    }

    /// The oldest waiting events, as many as fit into one call. `next` reserves sequence numbers of
    /// this server. Events that were sent before keep their sequence numbers, so that Redis does
    /// not append them twice.
    pub(super) fn batch(&mut self, next: impl FnOnce(usize) -> u64) -> Option<Batch> {
        let first = self.pending.front()?.seq;
        let goes_on = |(index, pending): &(usize, &PendingEvent)| {
            let seq = first.map(|first| first + *index as u64);
            pending.seq == seq && (*index == 0 || !pending.append.change.may_be_refused())
        };
        let count = match &self.pending[0].append.change {
            change if change.may_be_refused() => 1,
            _ => {
                let all = self.pending.iter().enumerate().take(APPEND_EVENTS);
                all.take_while(goes_on).count()
            }
        };
        let seq = first.unwrap_or_else(|| next(count));
        let mut appends = Vec::with_capacity(count);
        for (seq, pending) in (seq..).zip(self.pending.iter_mut().take(count)) {
            pending.seq = Some(seq);
            appends.push(pending.append.clone());
        }
        Some(Batch { seq, appends })
    }

    /// Limits the agreed offset to `offset`.
    pub(super) fn limit_agreed(&mut self, offset: u64) {
        self.agreed = self.agreed.min(offset);
    }

    /// Redis had lost the room, and has the room of this server now.
    pub(super) fn was_restored(&mut self) {
        self.agreed = self.base.offset();
        self.renumbered.clear();
    }

    /// How readers of this server continue in the new history.
    pub(super) fn restart(&self) -> Restart {
        Restart {
            common: self.agreed,
            renumbered: self.renumbered.clone(),
        }
    }

    /// True if the history in Redis differs from the one that readers of this server received.
    pub(super) fn has_forked(&self) -> bool {
        self.agreed < self.base.offset()
    }

    /// Removes the `count` oldest events. Redis appended them from offset `first` on, or refused
    /// them if `first` is `None`. `log` has them under the offsets that readers received.
    pub(super) fn acknowledge(&mut self, log: &HistoryLog, count: usize, first: Option<u64>) {
        let goes_on = !self.has_forked() && first == Some(self.base.offset() + 1);
        let base = &mut self.base;
        for pending in self.pending.drain(..count.min(self.pending.len())) {
            // The receiver is gone if the sender of a message has left.
            let _ = pending.stored.send(());
            let Some(entry) = log.at(base.offset() + 1) else {
                continue;
            };
            base.roster.apply(entry.offset, &entry.event);
            if base.history.len() == HISTORY_EVENTS {
                base.history.pop_front();
            }
            base.history.push_back(Arc::clone(entry));
        }
        if goes_on {
            self.agreed = base.offset();
        } else if let Some(first) = first {
            self.renumbered.extend((first..).take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::history::Change;
    use crate::ids::Epoch;
    use crate::store::RoomUpdate;
    use crate::store::redis::room_replica::RoomReplica;
    use crate::store::suite::note;

    fn opened_at(offset: u64) -> (RoomReplica, mpsc::Receiver<RoomUpdate>) {
        let mut replica = RoomReplica::opening();
        replica.opened((Epoch::random(), offset), Vec::new());
        let updates = replica.read().updates;
        (replica, updates)
    }

    fn offsets(updates: &mut mpsc::Receiver<RoomUpdate>) -> Vec<u64> {
        std::iter::from_fn(|| match updates.try_recv().ok()? {
            RoomUpdate::Entry(entry) => Some(entry.offset),
            RoomUpdate::Taken(_) | RoomUpdate::Message(_) => None,
        })
        .collect()
    }

    fn pending(seq: Option<u64>, number: usize) -> (PendingEvent, oneshot::Receiver<()>) {
        let (stored, is_stored) = oneshot::channel();
        let append = note(number);
        let pending = PendingEvent {
            seq,
            append,
            stored,
        };
        (pending, is_stored)
    }

    #[test]
    fn an_offline_room_goes_on_remembers_and_is_bounded() {
        let (mut replica, mut updates) = opened_at(1);
        let (tried, mut first) = pending(Some(5), 1);
        assert_eq!(replica.append(tried), Some(2));
        let (later, mut second) = pending(None, 2);
        assert_eq!(replica.append(later), Some(3));
        assert_eq!(offsets(&mut updates), [2, 3]);
        let base = replica.base();
        assert_eq!((base.offset(), base.history.len()), (1, 0));
        replica.acknowledge(1, Some(2));
        let base = replica.base();
        assert_eq!((base.offset(), base.history.len()), (2, 1));
        assert!(first.try_recv().is_ok(), "the sender is renumbered");
        assert!(second.try_recv().is_err());
        for number in 0..OFFLINE_EVENTS - 1 {
            assert!(replica.append(pending(None, number).0).is_some());
        }
        assert_eq!(replica.append(pending(None, 0).0), None);
        replica.is_current_again();
        assert!(replica.is_open() && !replica.is_offline());
    }

    #[test]
    fn the_store_is_told_of_many_at_once_and_of_what_was_tried_under_the_same_numbers() {
        let (mut replica, _news) = opened_at(7);
        let mut leaving = note(3);
        leaving.change = Change::RemoveOurs("PA_0000000000000000".parse().unwrap());
        for (seq, append) in [
            (Some(20), note(1)),
            (Some(21), note(2)),
            (None, note(3)),
            (None, note(4)),
            (None, leaving),
            (None, note(5)),
        ] {
            let (stored, _) = oneshot::channel();
            let pending = PendingEvent {
                seq,
                append,
                stored,
            };
            replica.append(pending).unwrap();
        }
        let mut batches = Vec::new();
        let mut next = 100;
        loop {
            let give = |count: usize| {
                next += count as u64;
                next - count as u64
            };
            let Some(batch) = replica.batch(give) else {
                break;
            };
            let again = replica.batch(|_| panic!("it has its numbers")).unwrap();
            assert_eq!((again.seq, &again.appends), (batch.seq, &batch.appends));
            batches.push((batch.seq, batch.appends.len(), replica.base().offset() + 1));
            replica.acknowledge(batch.appends.len(), Some(replica.base().offset() + 1));
        }
        assert_eq!(
            batches,
            [(20, 2, 8), (100, 2, 10), (102, 1, 12), (103, 1, 13)]
        );
    }

    #[test]
    fn what_the_store_numbered_otherwise_is_remembered_until_readers_hear_of_it() {
        let tell = |firsts: &[Option<u64>], offset: u64| {
            let (mut replica, _news) = opened_at(7);
            for number in 0..firsts.len() {
                replica.append(pending(None, number).0).unwrap();
            }
            replica.limit_agreed(offset);
            for first in firsts {
                replica.acknowledge(1, *first);
            }
            let before = replica.restart_if_forked();
            replica.limit_agreed(offset + 9); // it was interrupted, and checks again
            assert_eq!(replica.restart_if_forked(), before);
            before.map(|restart| (restart.common, restart.renumbered))
        };
        assert_eq!(tell(&[Some(8), Some(9)], 7), None);
        assert_eq!(tell(&[Some(9), Some(10)], 8), Some((7, vec![9, 10])));
        // An event of another server got an offset between two of ours: the first is not listed.
        assert_eq!(tell(&[Some(8), Some(10)], 7), Some((8, vec![10])));
        assert_eq!(tell(&[None, Some(8)], 7), Some((7, vec![8])));
        // Redis lost two events that all servers had, and other servers continued meanwhile.
        assert_eq!(tell(&[Some(8)], 5), Some((5, vec![8])));
        assert_eq!(tell(&[], 7), None);

        let (mut replica, _news) = opened_at(7);
        replica.append(pending(None, 0).0).unwrap();
        replica.acknowledge(1, Some(9));
        replica.was_restored();
        assert_eq!(
            replica.restart_if_forked(),
            None,
            "the store has what readers here have"
        );
    }
}
