//! A server's replica of a room: its latest events, its participants, and the readers on this
//! server.
//!
//! While Redis is unavailable, events get their offsets here and wait for Redis
//! ([`super::offline_log`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offline_log::{Base, Batch, OfflineLog, PendingEvent};
use crate::history::{Entry, Missed, Restart};
use crate::history::{Ephemeral, Participant, Roster};
use crate::ids::{Epoch, ParticipantId};
use crate::store::history_log::HistoryLog;
use crate::store::{Opened, RoomUpdate};

/// One server's copy of a room.
#[derive(Debug)]
pub(super) struct RoomReplica {
    log: HistoryLog,
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
    Offline(OfflineLog),
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

impl RoomReplica {
    /// A replica that only keeps received events until [`RoomReplica::opened`].
    pub(super) fn opening() -> Self {
        Self {
            log: HistoryLog::new(Epoch::random(), 0),
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
        self.log = HistoryLog::new(epoch, offset);
        self.roster = Roster::new(offset, participants);
        self.state = State::Current;
        self.early.retain(|number, _| *number > offset);
        self.add_early();
    }

    pub(super) fn epoch(&self) -> &Epoch {
        self.log.epoch()
    }

    pub(super) fn offset(&self) -> u64 {
        self.log.offset()
    }

    pub(super) fn is_offline(&self) -> bool {
        matches!(self.state, State::Offline(_))
    }

    /// True if events are missing before one that was received.
    pub(super) fn has_gap(&self) -> bool {
        self.is_open() && !self.early.is_empty()
    }

    /// True if the replica is current and its epoch is not `epoch`.
    pub(super) fn is_of_another(&self, epoch: &Epoch) -> bool {
        matches!(self.state, State::Current) && self.log.epoch() != epoch
    }

    /// True if the replica lacks events up to `offset`, or has another epoch.
    pub(super) fn is_behind(&self, epoch: &Epoch, offset: u64) -> bool {
        self.is_open() && (self.log.epoch() != epoch || self.log.offset() < offset)
    }

    /// True if readers can be served: the replica is current, or offline.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Current | State::Offline(_))
    }

    /// Closes the room if it has no reader. True if it can be deleted now; waiting events must be
    /// sent first.
    pub(super) fn close(&mut self) -> bool {
        self.is_closing = !self.log.has_reader();
        self.is_closing && !self.is_offline()
    }

    /// True if the room was closed, and no event waits for the store any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_closing && !self.is_offline()
    }

    /// Adds a reader, which gets all events after the current offset.
    pub(super) fn read(&mut self) -> Opened {
        self.is_closing = false;
        let updates = self.log.add_reader(0);
        Opened {
            epoch: self.log.epoch().clone(),
            offset: self.log.offset(),
            participants: self.roster.to_vec(),
            restart: self.restart.clone(),
            updates,
        }
    }

    pub(super) fn since(&self, epoch: &Epoch, offset: u64) -> Missed {
        self.log.since(epoch, offset)
    }

    /// Adds an event that the store has.
    pub(super) fn receive(&mut self, epoch: &Epoch, entry: Arc<Entry>) -> Received {
        match &self.state {
            State::Opening => {
                self.early.insert(entry.offset, (epoch.clone(), entry));
                return Received::Fine;
            }
            // Events of other servers are read when the store is available again.
            State::Offline(_) | State::Stale => return Received::Fine,
            State::Current => {}
        }
        if epoch != self.log.epoch() {
            return Received::Fork;
        }
        if entry.offset <= self.log.offset() {
            let known = self.log.at(entry.offset);
            let differs = known.is_some_and(|known| **known != *entry);
            return if differs {
                Received::Fork
            } else {
                Received::Fine
            };
        }
        self.early.insert(entry.offset, (epoch.clone(), entry));
        self.add_early();
        if self.early.is_empty() {
            Received::Fine
        } else {
            Received::Gap
        }
    }

    /// Adds an event that the store cannot accept now. Returns its offset; `None` if too many wait.
    pub(super) fn append(&mut self, pending: PendingEvent) -> Option<u64> {
        if !self.is_offline() {
            self.early.clear();
            self.state = State::Offline(OfflineLog::new(self.base()));
        }
        let State::Offline(offline_log) = &mut self.state else {
            unreachable!("it is one now");
        };
        let offset = self.log.offset() + 1;
        let (event, to) = (pending.append.event.clone(), pending.append.to.clone());
        if !offline_log.wait(pending) {
            return None;
        }
        self.push(Arc::new(Entry { offset, event, to }));
        Some(offset)
    }

    /// The room as the store should have it.
    pub(super) fn base(&self) -> Base {
        match &self.state {
            State::Offline(offline_log) => offline_log.base().clone(),
            State::Opening | State::Current | State::Stale => Base {
                roster: self.roster.clone(),
                history: self.log.history().cloned().collect(),
            },
        }
    }

    /// The next events for the store, see [`OfflineLog::batch`].
    pub(super) fn batch(&mut self, next: impl FnOnce(usize) -> u64) -> Option<Batch> {
        self.offline_log()?.batch(next)
    }

    /// Notes that both histories agree up to `offset`, see [`OfflineLog::limit_agreed`].
    pub(super) fn limit_agreed(&mut self, offset: u64) {
        if let Some(offline_log) = self.offline_log() {
            offline_log.limit_agreed(offset);
        }
    }

    /// Notes that the store has the room again, see [`OfflineLog::was_restored`].
    pub(super) fn was_restored(&mut self) {
        if let Some(offline_log) = self.offline_log() {
            offline_log.was_restored();
        }
    }

    /// How readers continue after a restart, see [`OfflineLog::restart`].
    pub(super) fn restart(&mut self) -> Option<Restart> {
        self.offline_log().map(|offline_log| offline_log.restart())
    }

    /// How readers continue; `None` if both histories are equal.
    pub(super) fn restart_if_forked(&mut self) -> Option<Restart> {
        let offline_log = self.offline_log()?;
        offline_log.has_forked().then(|| offline_log.restart())
    }

    /// Notes the offsets that the store gave, see [`OfflineLog::renumbered`].
    pub(super) fn acknowledge(&mut self, count: usize, first: Option<u64>) {
        if let State::Offline(offline_log) = &mut self.state {
            offline_log.acknowledge(&self.log, count, first);
        }
    }

    fn offline_log(&mut self) -> Option<&mut OfflineLog> {
        match &mut self.state {
            State::Offline(offline_log) => Some(offline_log),
            State::Opening | State::Current | State::Stale => None,
        }
    }

    /// The store has all events.
    pub(super) fn is_current_again(&mut self) {
        if self.is_offline() {
            self.state = State::Current;
        }
    }

    /// Another server has taken over the participant.
    pub(super) fn taken(&mut self, participant: ParticipantId) {
        self.log.send(&RoomUpdate::Taken(participant));
    }

    /// A message outside the history.
    pub(super) fn publish(&mut self, message: Arc<Ephemeral>) {
        if self.is_open() {
            self.log.publish(message);
        }
    }

    /// The store's history differs: readers open the room again. `restart` tells how they continue.
    pub(super) fn fork(&mut self, restart: Option<Restart>) {
        // Readers of this server may have received fewer events than both histories have in common.
        self.restart = restart.map(|restart| Restart {
            common: restart.common.min(self.log.offset()),
            ..restart
        });
        self.state = State::Stale;
        self.early.clear();
        self.log.remove_readers();
    }

    fn add_early(&mut self) {
        while let Some((offset, (epoch, entry))) = self.early.pop_first() {
            if epoch != *self.log.epoch() || offset != self.log.offset() + 1 {
                if epoch == *self.log.epoch() && offset > self.log.offset() {
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
        self.log.push(entry);
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

    fn opened_at(offset: u64) -> (RoomReplica, Epoch, mpsc::Receiver<RoomUpdate>) {
        let (mut replica, epoch) = (RoomReplica::opening(), Epoch::random());
        replica.opened((epoch.clone(), offset), Vec::new());
        let updates = replica.read().updates;
        (replica, epoch, updates)
    }

    fn offsets(updates: &mut mpsc::Receiver<RoomUpdate>) -> Vec<u64> {
        std::iter::from_fn(|| match updates.try_recv().ok()? {
            RoomUpdate::Entry(entry) => Some(entry.offset),
            RoomUpdate::Taken(_) | RoomUpdate::Message(_) => None,
        })
        .collect()
    }

    #[test]
    fn what_arrives_while_opening_is_not_missed_and_nothing_comes_twice() {
        let (mut replica, epoch) = (RoomReplica::opening(), Epoch::random());
        for offset in [4, 6, 5] {
            assert_eq!(replica.receive(&epoch, entry(offset, 0)), Received::Fine);
        }
        replica.receive(&Epoch::random(), entry(7, 0)); // of an ended history
        replica.opened((epoch.clone(), 4), Vec::new());
        assert_eq!(replica.offset(), 6);
        let mut updates = replica.read().updates;
        assert_eq!(replica.receive(&epoch, entry(6, 0)), Received::Fine);
        assert_eq!(replica.receive(&epoch, entry(7, 0)), Received::Fine);
        assert_eq!(offsets(&mut updates), [7]);
    }

    #[test]
    fn gaps_are_seen_and_filled_in_order() {
        let (mut replica, epoch, mut updates) = opened_at(0);
        assert_eq!(replica.receive(&epoch, entry(2, 0)), Received::Gap);
        assert_eq!(replica.receive(&epoch, entry(3, 0)), Received::Gap);
        assert!(offsets(&mut updates).is_empty());
        assert_eq!(replica.receive(&epoch, entry(1, 0)), Received::Fine);
        assert_eq!(offsets(&mut updates), [1, 2, 3]);
    }

    #[test]
    fn another_event_under_a_known_number_is_a_fork() {
        let (mut replica, epoch, mut updates) = opened_at(0);
        replica.receive(&epoch, entry(1, 0));
        assert_eq!(replica.receive(&epoch, entry(1, 0)), Received::Fine);
        assert_eq!(replica.receive(&epoch, entry(1, 1)), Received::Fork);
        assert_eq!(
            replica.receive(&Epoch::random(), entry(2, 1)),
            Received::Fork
        );
        replica.fork(None);
        assert!(!replica.is_open());
        assert_eq!(offsets(&mut updates), [1]);
        assert!(updates.is_closed());
    }

    #[test]
    fn readers_go_on_from_what_both_histories_have() {
        let (mut replica, _, _news) = opened_at(7);
        let restart = Restart {
            common: 9,
            renumbered: vec![10],
        };
        replica.fork(Some(restart));
        replica.open_again();
        replica.opened((Epoch::random(), 10), Vec::new());
        let restart = replica.read().restart.unwrap();
        assert_eq!((restart.common, restart.renumbered), (7, vec![10]));
    }
}
