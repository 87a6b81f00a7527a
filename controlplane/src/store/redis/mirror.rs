//! A server's replica of a room: its latest events, its participants, and the readers on this
//! server.
//!
//! While Redis is unavailable, events get their offsets here and wait for Redis
//! ([`super::island`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::island::{Base, Batch, Island, Untold};
use crate::history::{Entry, Missed, Restart};
use crate::history::{Ephemeral, Participant, Roster};
use crate::ids::{Epoch, ParticipantId};
use crate::store::record::Record;
use crate::store::{News, Opened};

/// One server's copy of a room.
#[derive(Debug)]
pub(super) struct Mirror {
    record: Record,
    roster: Roster,
    /// Events that arrived before earlier ones, by offset.
    early: BTreeMap<u64, (Epoch, Arc<Entry>)>,
    state: State,
    /// How readers continue, if the history started over.
    restart: Option<Restart>,
    /// The last reader has closed the room.
    is_closing: bool,
}

#[derive(Debug)]
enum State {
    /// The reply of `open.lua` is outstanding.
    Opening,
    /// The replica has the state of the store.
    Current,
    /// The store is unavailable. The replica has events that the store does not have.
    Island(Island),
    /// The store has another history: the room must be opened again.
    Stale,
}

/// Result of a received event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The event was added, or is known.
    Fine,
    /// Events before this one are missing.
    Gap,
    /// The event differs from the one that this server has at the same offset, or has another
    /// epoch.
    Fork,
}

impl Mirror {
    /// A replica that only keeps received events until [`Mirror::opened`].
    pub(super) fn opening() -> Self {
        Self {
            record: Record::new(Epoch::random(), 0),
            roster: Roster::default(),
            early: BTreeMap::new(),
            state: State::Opening,
            restart: None,
            is_closing: false,
        }
    }

    /// Discards the history, but keeps how readers continue after the restart.
    pub(super) fn open_again(&mut self) {
        let restart = self.restart.take();
        *self = Self::opening();
        self.restart = restart;
    }

    /// Takes over the state that `open.lua` returned.
    pub(super) fn opened(&mut self, (epoch, offset): (Epoch, u64), participants: Vec<Participant>) {
        self.record = Record::new(epoch, offset);
        self.roster = Roster::new(offset, participants);
        self.state = State::Current;
        self.early.retain(|number, _| *number > offset);
        self.take_early();
    }

    pub(super) fn epoch(&self) -> &Epoch {
        self.record.epoch()
    }

    pub(super) fn offset(&self) -> u64 {
        self.record.offset()
    }

    pub(super) fn is_island(&self) -> bool {
        matches!(self.state, State::Island(_))
    }

    /// True if events are missing before one that was received.
    pub(super) fn has_gap(&self) -> bool {
        self.is_open() && !self.early.is_empty()
    }

    /// True if the replica is current and its epoch is not `epoch`.
    pub(super) fn is_of_another(&self, epoch: &Epoch) -> bool {
        matches!(self.state, State::Current) && self.record.epoch() != epoch
    }

    /// True if the replica lacks events up to `offset`, or has another epoch.
    pub(super) fn is_behind(&self, epoch: &Epoch, offset: u64) -> bool {
        self.is_open() && (self.record.epoch() != epoch || self.record.offset() < offset)
    }

    /// True if readers can be served: the replica is current, or offline.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Current | State::Island(_))
    }

    /// Closes the room if it has no reader. True if it can be deleted now; waiting events must be
    /// sent first.
    pub(super) fn close(&mut self) -> bool {
        self.is_closing = !self.record.is_read();
        self.is_closing && !self.is_island()
    }

    /// True if the room was closed, and no event waits for the store any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_closing && !self.is_island()
    }

    /// Adds a reader, which gets all events after the current offset.
    pub(super) fn read(&mut self) -> Opened {
        self.is_closing = false;
        let news = self.record.read();
        Opened {
            epoch: self.record.epoch().clone(),
            offset: self.record.offset(),
            participants: self.roster.to_vec(),
            restart: self.restart.clone(),
            news,
        }
    }

    pub(super) fn since(&self, epoch: &Epoch, offset: u64) -> Missed {
        self.record.since(epoch, offset)
    }

    /// Adds an event that the store has.
    pub(super) fn receive(&mut self, epoch: &Epoch, entry: Arc<Entry>) -> Received {
        match &self.state {
            State::Opening => {
                self.early.insert(entry.offset, (epoch.clone(), entry));
                return Received::Fine;
            }
            // Events of other servers are read when the store is available again.
            State::Island(_) | State::Stale => return Received::Fine,
            State::Current => {}
        }
        if epoch != self.record.epoch() {
            return Received::Fork;
        }
        if entry.offset <= self.record.offset() {
            let known = self.record.at(entry.offset);
            let differs = known.is_some_and(|known| **known != *entry);
            return if differs {
                Received::Fork
            } else {
                Received::Fine
            };
        }
        self.early.insert(entry.offset, (epoch.clone(), entry));
        self.take_early();
        if self.early.is_empty() {
            Received::Fine
        } else {
            Received::Gap
        }
    }

    /// Adds an event that the store cannot accept now. Returns its offset; `None` if too many wait.
    pub(super) fn append(&mut self, untold: Untold) -> Option<u64> {
        if !self.is_island() {
            self.early.clear();
            self.state = State::Island(Island::new(self.base()));
        }
        let State::Island(island) = &mut self.state else {
            unreachable!("it is one now");
        };
        let offset = self.record.offset() + 1;
        let (event, to) = (untold.append.event.clone(), untold.append.to.clone());
        if !island.wait(untold) {
            return None;
        }
        self.push(Arc::new(Entry { offset, event, to }));
        Some(offset)
    }

    /// The room as the store should have it.
    pub(super) fn base(&self) -> Base {
        match &self.state {
            State::Island(island) => island.base().clone(),
            State::Opening | State::Current | State::Stale => Base {
                roster: self.roster.clone(),
                history: self.record.history().cloned().collect(),
            },
        }
    }

    /// The next events for the store, see [`Island::batch`].
    pub(super) fn batch(&mut self, next: impl FnOnce(usize) -> u64) -> Option<Batch> {
        self.island()?.batch(next)
    }

    /// Notes that both histories agree up to `offset`, see [`Island::agrees_to`].
    pub(super) fn agrees_to(&mut self, offset: u64) {
        if let Some(island) = self.island() {
            island.agrees_to(offset);
        }
    }

    /// Notes that the store has the room again, see [`Island::was_restored`].
    pub(super) fn was_restored(&mut self) {
        if let Some(island) = self.island() {
            island.was_restored();
        }
    }

    /// How readers continue after a restart, see [`Island::restart`].
    pub(super) fn restart(&mut self) -> Option<Restart> {
        self.island().map(|island| island.restart())
    }

    /// How readers continue; `None` if both histories are equal.
    pub(super) fn parted(&mut self) -> Option<Restart> {
        let island = self.island()?;
        island.has_parted().then(|| island.restart())
    }

    /// Notes the offsets that the store gave, see [`Island::told`].
    pub(super) fn told(&mut self, count: usize, first: Option<u64>) {
        if let State::Island(island) = &mut self.state {
            island.told(&self.record, count, first);
        }
    }

    fn island(&mut self) -> Option<&mut Island> {
        match &mut self.state {
            State::Island(island) => Some(island),
            State::Opening | State::Current | State::Stale => None,
        }
    }

    /// The store has all events.
    pub(super) fn is_current_again(&mut self) {
        if self.is_island() {
            self.state = State::Current;
        }
    }

    /// Another server has taken over the participant.
    pub(super) fn taken(&mut self, participant: ParticipantId) {
        self.record.tell(&News::Taken(participant));
    }

    /// A message outside the history.
    pub(super) fn say(&mut self, message: Arc<Ephemeral>) {
        if self.is_open() {
            self.record.say(message);
        }
    }

    /// The store's history differs: readers open the room again. `restart` tells how they continue.
    pub(super) fn fork(&mut self, restart: Option<Restart>) {
        // Readers of this server may have received fewer events than both histories have in common.
        self.restart = restart.map(|restart| Restart {
            common: restart.common.min(self.record.offset()),
            ..restart
        });
        self.state = State::Stale;
        self.early.clear();
        self.record.cut_off();
    }

    fn take_early(&mut self) {
        while let Some((offset, (epoch, entry))) = self.early.pop_first() {
            if epoch != *self.record.epoch() || offset != self.record.offset() + 1 {
                if epoch == *self.record.epoch() && offset > self.record.offset() {
                    self.early.insert(offset, (epoch, entry));
                    return;
                }
                continue;
            }
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.roster.apply(entry.offset, &entry.event);
        self.record.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::history::Append;
    use crate::store::suite::note;

    fn entry(offset: u64, number: usize) -> Arc<Entry> {
        let Append { event, to, .. } = note(number);
        Arc::new(Entry { offset, event, to })
    }

    fn opened_at(offset: u64) -> (Mirror, Epoch, mpsc::Receiver<News>) {
        let (mut mirror, epoch) = (Mirror::opening(), Epoch::random());
        mirror.opened((epoch.clone(), offset), Vec::new());
        let news = mirror.read().news;
        (mirror, epoch, news)
    }

    fn offsets(news: &mut mpsc::Receiver<News>) -> Vec<u64> {
        std::iter::from_fn(|| match news.try_recv().ok()? {
            News::Entry(entry) => Some(entry.offset),
            News::Taken(_) | News::Message(_) => None,
        })
        .collect()
    }

    #[test]
    fn what_arrives_while_opening_is_not_missed_and_nothing_comes_twice() {
        let (mut mirror, epoch) = (Mirror::opening(), Epoch::random());
        for offset in [4, 6, 5] {
            assert_eq!(mirror.receive(&epoch, entry(offset, 0)), Received::Fine);
        }
        mirror.receive(&Epoch::random(), entry(7, 0)); // of an ended history
        mirror.opened((epoch.clone(), 4), Vec::new());
        assert_eq!(mirror.offset(), 6);
        let mut news = mirror.read().news;
        assert_eq!(mirror.receive(&epoch, entry(6, 0)), Received::Fine);
        assert_eq!(mirror.receive(&epoch, entry(7, 0)), Received::Fine);
        assert_eq!(offsets(&mut news), [7]);
    }

    #[test]
    fn gaps_are_seen_and_filled_in_order() {
        let (mut mirror, epoch, mut news) = opened_at(0);
        assert_eq!(mirror.receive(&epoch, entry(2, 0)), Received::Gap);
        assert_eq!(mirror.receive(&epoch, entry(3, 0)), Received::Gap);
        assert!(offsets(&mut news).is_empty());
        assert_eq!(mirror.receive(&epoch, entry(1, 0)), Received::Fine);
        assert_eq!(offsets(&mut news), [1, 2, 3]);
    }

    #[test]
    fn another_event_under_a_known_number_is_a_fork() {
        let (mut mirror, epoch, mut news) = opened_at(0);
        mirror.receive(&epoch, entry(1, 0));
        assert_eq!(mirror.receive(&epoch, entry(1, 0)), Received::Fine);
        assert_eq!(mirror.receive(&epoch, entry(1, 1)), Received::Fork);
        assert_eq!(
            mirror.receive(&Epoch::random(), entry(2, 1)),
            Received::Fork
        );
        mirror.fork(None);
        assert!(!mirror.is_open());
        assert_eq!(offsets(&mut news), [1]);
        assert!(news.is_closed());
    }

    #[test]
    fn readers_go_on_from_what_both_histories_have() {
        let (mut mirror, _, _news) = opened_at(7);
        let restart = Restart {
            common: 9,
            told: vec![10],
        };
        mirror.fork(Some(restart));
        mirror.open_again();
        mirror.opened((Epoch::random(), 10), Vec::new());
        let restart = mirror.read().restart.unwrap();
        assert_eq!((restart.common, restart.told), (7, vec![10]));
    }
}
