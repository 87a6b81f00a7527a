//! What this node knows of a room: its latest history, who is in it, and who reads it here.
//!
//! While the store cannot be reached the mirror is an *island*: events get numbers here, and wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::{Epoch, ParticipantId};
use crate::limits::ISLAND_EVENTS;
use crate::room::{Participant, Roster};
use crate::store::record::Record;
use crate::store::{Append, Entry, Missed, News, Opened};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Mirror {
    record: Record,
    roster: Roster,
    /// Arrived before those that precede them, with their epochs.
    early: BTreeMap<u64, (Epoch, Arc<Entry>)>,
    state: State,
    /// Nobody wants it any more.
    is_closing: bool,
}

#[derive(Debug)]
enum State {
    /// The store's answer is not here yet.
    Opening,
    /// As the store has it.
    Current,
    /// Ahead of the store, which cannot be reached.
    Island(Island),
    /// The store's history is another one: the room has to be opened again.
    Stale,
}

/// What the store does not know yet.
#[derive(Debug, Clone)]
pub(super) struct Island {
    /// Where the store was.
    pub(super) offset: u64,
    /// Who was there.
    pub(super) participants: Vec<Participant>,
    /// What had happened.
    pub(super) history: Vec<Arc<Entry>>,
    /// What happened since, under the numbers they were tried with.
    pub(super) appends: VecDeque<(u64, Append)>,
}

/// What an entry did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// It is known now, or was.
    Fine,
    /// Some before it are missing.
    Gap,
    /// It is not what this node was told before.
    Fork,
}

impl Mirror {
    /// Keeps what arrives until [`Mirror::opened`].
    pub(super) fn opening() -> Self {
        Self {
            record: Record::new(Epoch::random(), 0),
            roster: Roster::default(),
            early: BTreeMap::new(),
            state: State::Opening,
            is_closing: false,
        }
    }

    /// The store's answer.
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

    /// Whether events are missing before some that are here.
    pub(super) fn has_gap(&self) -> bool {
        self.is_open() && !self.early.is_empty()
    }

    /// Whether its history, as the store had it, is none of `epoch`.
    pub(super) fn is_of_another(&self, epoch: &Epoch) -> bool {
        matches!(self.state, State::Current) && self.record.epoch() != epoch
    }

    /// Whether readers of it lack something of the store's history up to `offset`.
    pub(super) fn is_behind(&self, epoch: &Epoch, offset: u64) -> bool {
        self.is_open() && (self.record.epoch() != epoch || self.record.offset() < offset)
    }

    /// Whether readers can be served.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Current | State::Island(_))
    }

    /// Whether it can be forgotten: nobody reads it. An island has something to tell first.
    pub(super) fn close(&mut self) -> bool {
        self.is_closing = !self.record.is_read();
        self.is_closing && !self.is_island()
    }

    /// Whether it was closed while it was an island, and is none any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_closing && !self.is_island()
    }

    /// A new reader.
    pub(super) fn read(&mut self) -> Opened {
        self.is_closing = false;
        let news = self.record.read();
        Opened {
            epoch: self.record.epoch().clone(),
            offset: self.record.offset(),
            participants: self.roster.participants().cloned().collect(),
            news,
        }
    }

    pub(super) fn since(&self, epoch: &Epoch, offset: u64) -> Missed {
        self.record.since(epoch, offset)
    }

    /// An event as the store numbered it.
    pub(super) fn receive(&mut self, epoch: &Epoch, entry: Arc<Entry>) -> Received {
        match &self.state {
            State::Opening => {
                self.early.insert(entry.offset, (epoch.clone(), entry));
                return Received::Fine;
            }
            // What the others did meanwhile is found out when the island ends.
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

    /// An event that the store cannot be told of now; its number, or `None` when too many wait.
    pub(super) fn append(&mut self, seq: u64, append: Append) -> Option<u64> {
        if !self.is_island() {
            self.early.clear();
            self.state = State::Island(Island {
                offset: self.record.offset(),
                participants: self.roster.participants().cloned().collect(),
                history: self.record.history().cloned().collect(),
                appends: VecDeque::new(),
            });
        }
        let State::Island(island) = &mut self.state else {
            unreachable!("it is one now");
        };
        if island.appends.len() >= ISLAND_EVENTS {
            return None;
        }
        let offset = self.record.offset() + 1;
        let (event, to) = (append.event.clone(), append.to.clone());
        island.appends.push_back((seq, append));
        self.push(Arc::new(Entry { offset, event, to }));
        Some(offset)
    }

    /// What the store has to be told; what it should have, if it has nothing to be told.
    pub(super) fn island(&self) -> Island {
        match &self.state {
            State::Island(island) => island.clone(),
            State::Opening | State::Current | State::Stale => Island {
                offset: self.record.offset(),
                participants: self.roster.participants().cloned().collect(),
                history: self.record.history().cloned().collect(),
                appends: VecDeque::new(),
            },
        }
    }

    /// The store knows the oldest of the waiting events now.
    pub(super) fn told_one(&mut self) {
        let next = self.island_base();
        if let State::Island(island) = &mut self.state {
            island.appends.pop_front();
            if let Some((offset, participants, history)) = next {
                (island.offset, island.participants, island.history) =
                    (offset, participants, history);
            }
        }
    }

    /// The store knows everything.
    pub(super) fn is_current_again(&mut self) {
        if self.is_island() {
            self.state = State::Current;
        }
    }

    /// Somebody else serves the participant.
    pub(super) fn taken(&mut self, participant: ParticipantId) {
        self.record.tell(&News::Taken(participant));
    }

    /// The history is another one: readers open the room again.
    pub(super) fn fork(&mut self) {
        self.state = State::Stale;
        self.early.clear();
        self.record.cut_off();
    }

    /// Where the store will be once it was told of the oldest waiting event.
    fn island_base(&self) -> Option<(u64, Vec<Participant>, Vec<Arc<Entry>>)> {
        let State::Island(island) = &self.state else {
            return None;
        };
        let entry = self.record.at(island.offset + 1)?;
        let mut roster = Roster::new(island.offset, island.participants.clone());
        roster.apply(entry.offset, &entry.event);
        let mut history = island.history.clone();
        history.push(Arc::clone(entry));
        Some((
            entry.offset,
            roster.participants().cloned().collect(),
            history,
        ))
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
            News::Taken(_) => None,
        })
        .collect()
    }

    #[test]
    fn what_arrives_while_opening_is_not_missed_and_nothing_comes_twice() {
        let (mut mirror, epoch) = (Mirror::opening(), Epoch::random());
        for offset in [4, 6, 5] {
            assert_eq!(mirror.receive(&epoch, entry(offset, 0)), Received::Fine);
        }
        mirror.receive(&Epoch::random(), entry(7, 0)); // of a history that ended
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
        mirror.fork();
        assert!(!mirror.is_open());
        assert_eq!(offsets(&mut news), [1]);
        assert!(news.is_closed());
    }

    #[test]
    fn an_island_goes_on_remembers_and_is_bounded() {
        let (mut mirror, epoch, mut news) = opened_at(0);
        mirror.receive(&epoch, entry(1, 0));
        assert_eq!(mirror.append(5, note(1)), Some(2));
        assert_eq!(mirror.append(6, note(2)), Some(3));
        assert_eq!(offsets(&mut news), [1, 2, 3]);
        let island = mirror.island();
        assert_eq!(
            (island.offset, island.history.len(), island.appends.len()),
            (1, 1, 2)
        );
        mirror.told_one();
        let island = mirror.island();
        assert_eq!(
            (island.offset, island.history.len(), island.appends.len()),
            (2, 2, 1)
        );
        for number in 0..ISLAND_EVENTS - 1 {
            assert!(mirror.append(7, note(number)).is_some());
        }
        assert_eq!(mirror.append(8, note(0)), None);
        mirror.is_current_again();
        assert!(mirror.is_open() && !mirror.is_island());
    }
}
