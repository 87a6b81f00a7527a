//! Events of a room that wait on this server while Redis is unavailable, and the offset up to which
//! both histories agree.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::history::Roster;
use crate::history::{Append, Entry, Restart};
use crate::limits::{APPEND_EVENTS, HISTORY_EVENTS, ISLAND_EVENTS};
use crate::store::record::Record;

/// Events of one room that Redis does not have yet.
#[derive(Debug)]
pub(super) struct Island {
    /// The room as Redis last confirmed it.
    base: Base,
    /// Waiting events, oldest first. At most [`ISLAND_EVENTS`].
    untold: VecDeque<Untold>,
    /// Up to this offset, readers received the same history that Redis has. If it is below
    /// `base.offset()`, the histories have forked.
    agreed: u64,
    /// Offsets in Redis, after `agreed`, of events that readers of this server received under other
    /// offsets.
    told: Vec<u64>,
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
pub(super) struct Untold {
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

impl Island {
    /// `base` is the room as Redis last confirmed it.
    pub(super) fn new(base: Base) -> Self {
        Self {
            agreed: base.offset(),
            base,
            untold: VecDeque::new(),
            told: Vec::new(),
        }
    }

    /// The room as Redis should have it.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Adds an event. False if [`ISLAND_EVENTS`] wait already.
    pub(super) fn wait(&mut self, untold: Untold) -> bool {
        let fits = self.untold.len() < ISLAND_EVENTS;
        if fits {
            self.untold.push_back(untold);
        }
        fits
    }

    /// The oldest waiting events, as many as fit into one call. `next` reserves sequence numbers of
    /// this server. Events that were sent before keep their sequence numbers, so that Redis does
    /// not append them twice.
    pub(super) fn batch(&mut self, next: impl FnOnce(usize) -> u64) -> Option<Batch> {
        let first = self.untold.front()?.seq;
        let goes_on = |(index, untold): &(usize, &Untold)| {
            let seq = first.map(|first| first + *index as u64);
            untold.seq == seq && (*index == 0 || !untold.append.change.may_be_refused())
        };
        let count = match &self.untold[0].append.change {
            change if change.may_be_refused() => 1,
            _ => {
                let all = self.untold.iter().enumerate().take(APPEND_EVENTS);
                all.take_while(goes_on).count()
            }
        };
        let seq = first.unwrap_or_else(|| next(count));
        let mut appends = Vec::with_capacity(count);
        for (seq, untold) in (seq..).zip(self.untold.iter_mut().take(count)) {
            untold.seq = Some(seq);
            appends.push(untold.append.clone());
        }
        Some(Batch { seq, appends })
    }

    /// Limits the agreed offset to `offset`.
    pub(super) fn agrees_to(&mut self, offset: u64) {
        self.agreed = self.agreed.min(offset);
    }

    /// Redis had lost the room, and has now what this server had.
    pub(super) fn was_restored(&mut self) {
        self.agreed = self.base.offset();
        self.told.clear();
    }

    /// How readers of this server continue in the new history.
    pub(super) fn restart(&self) -> Restart {
        Restart {
            common: self.agreed,
            told: self.told.clone(),
        }
    }

    /// True if the history in Redis differs from the one that readers of this server received.
    pub(super) fn has_parted(&self) -> bool {
        self.agreed < self.base.offset()
    }

    /// Removes the `count` oldest events. Redis appended them from offset `first` on, or refused
    /// them if `first` is `None`. `record` has them under the offsets that readers received.
    pub(super) fn told(&mut self, record: &Record, count: usize, first: Option<u64>) {
        let goes_on = !self.has_parted() && first == Some(self.base.offset() + 1);
        let base = &mut self.base;
        for untold in self.untold.drain(..count.min(self.untold.len())) {
            // The receiver is gone if the sender of a message has left.
            let _ = untold.stored.send(());
            let Some(entry) = record.at(base.offset() + 1) else {
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
            self.told.extend((first..).take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::history::Change;
    use crate::ids::Epoch;
    use crate::store::News;
    use crate::store::redis::mirror::Mirror;
    use crate::store::suite::note;

    fn opened_at(offset: u64) -> (Mirror, mpsc::Receiver<News>) {
        let mut mirror = Mirror::opening();
        mirror.opened((Epoch::random(), offset), Vec::new());
        let news = mirror.read().news;
        (mirror, news)
    }

    fn offsets(news: &mut mpsc::Receiver<News>) -> Vec<u64> {
        std::iter::from_fn(|| match news.try_recv().ok()? {
            News::Entry(entry) => Some(entry.offset),
            News::Taken(_) | News::Message(_) => None,
        })
        .collect()
    }

    fn untold(seq: Option<u64>, number: usize) -> (Untold, oneshot::Receiver<()>) {
        let (stored, is_stored) = oneshot::channel();
        let append = note(number);
        let untold = Untold {
            seq,
            append,
            stored,
        };
        (untold, is_stored)
    }

    #[test]
    fn an_island_goes_on_remembers_and_is_bounded() {
        let (mut mirror, mut news) = opened_at(1);
        let (tried, mut first) = untold(Some(5), 1);
        assert_eq!(mirror.append(tried), Some(2));
        let (later, mut second) = untold(None, 2);
        assert_eq!(mirror.append(later), Some(3));
        assert_eq!(offsets(&mut news), [2, 3]);
        let base = mirror.base();
        assert_eq!((base.offset(), base.history.len()), (1, 0));
        mirror.told(1, Some(2));
        let base = mirror.base();
        assert_eq!((base.offset(), base.history.len()), (2, 1));
        assert!(first.try_recv().is_ok(), "the sender is told");
        assert!(second.try_recv().is_err());
        for number in 0..ISLAND_EVENTS - 1 {
            assert!(mirror.append(untold(None, number).0).is_some());
        }
        assert_eq!(mirror.append(untold(None, 0).0), None);
        mirror.is_current_again();
        assert!(mirror.is_open() && !mirror.is_island());
    }

    #[test]
    fn the_store_is_told_of_many_at_once_and_of_what_was_tried_under_the_same_numbers() {
        let (mut mirror, _news) = opened_at(7);
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
            let untold = Untold {
                seq,
                append,
                stored,
            };
            mirror.append(untold).unwrap();
        }
        let mut batches = Vec::new();
        let mut next = 100;
        loop {
            let give = |count: usize| {
                next += count as u64;
                next - count as u64
            };
            let Some(batch) = mirror.batch(give) else {
                break;
            };
            let again = mirror.batch(|_| panic!("it has its numbers")).unwrap();
            assert_eq!((again.seq, &again.appends), (batch.seq, &batch.appends));
            batches.push((batch.seq, batch.appends.len(), mirror.base().offset() + 1));
            mirror.told(batch.appends.len(), Some(mirror.base().offset() + 1));
        }
        assert_eq!(
            batches,
            [(20, 2, 8), (100, 2, 10), (102, 1, 12), (103, 1, 13)]
        );
    }

    #[test]
    fn what_the_store_numbered_otherwise_is_remembered_until_readers_hear_of_it() {
        let tell = |firsts: &[Option<u64>], offset: u64| {
            let (mut mirror, _news) = opened_at(7);
            for number in 0..firsts.len() {
                mirror.append(untold(None, number).0).unwrap();
            }
            mirror.agrees_to(offset);
            for first in firsts {
                mirror.told(1, *first);
            }
            let before = mirror.parted();
            mirror.agrees_to(offset + 9); // it was interrupted, and checks again
            assert_eq!(mirror.parted(), before);
            before.map(|restart| (restart.common, restart.told))
        };
        assert_eq!(tell(&[Some(8), Some(9)], 7), None);
        assert_eq!(tell(&[Some(9), Some(10)], 8), Some((7, vec![9, 10])));
        // An event of another server got an offset between two of ours: the first is not listed.
        assert_eq!(tell(&[Some(8), Some(10)], 7), Some((8, vec![10])));
        assert_eq!(tell(&[None, Some(8)], 7), Some((7, vec![8])));
        // Redis lost two events that all servers had, and other servers continued meanwhile.
        assert_eq!(tell(&[Some(8)], 5), Some((5, vec![8])));
        assert_eq!(tell(&[], 7), None);

        let (mut mirror, _news) = opened_at(7);
        mirror.append(untold(None, 0).0).unwrap();
        mirror.told(1, Some(9));
        mirror.was_restored();
        assert_eq!(
            mirror.parted(),
            None,
            "the store has what readers here have"
        );
    }
}
