//! Order in which sessions are served, with the packets that wait for each session: batches of the backlog, and the
//! subscription of each batch.
//!
//! All lists are linked through one vector, so queueing a packet touches no session. A session that already waits gets
//! new packets together with the queued ones. A session that was served goes to the end of its queue.

use std::collections::VecDeque;

use crate::key::{SessionIndex, SubscriptionIndex};

/// Sessions with packets to seal, in two queues. Tracks with few subscribers use one queue, so that they do not wait
/// behind the thousands of subscribers of another track.
#[derive(Debug, Default)]
pub struct Schedule {
    /// First and last entry of each session, by session index.
    entries_by_session: Vec<SessionEntries>,
    entries: Vec<Entry>,
    /// First entry of the free list.
    free: Option<u32>,
    queues: [Queue; 2],
    /// Sessions taken from the queue for few subscribers since the last one from the other queue.
    streak: usize,
}

/// One of the two queues of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Sessions with packets of tracks with few subscribers.
    FewSubscribers = 0,
    /// Sessions with packets of tracks with many subscribers.
    ManySubscribers = 1,
}

/// The packets of one track for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingPackets {
    /// Number of the packets' batch in the backlog.
    pub batch: u32,
    /// The subscription of the session.
    pub sub: SubscriptionIndex,
}

/// A position in both queues. When both are past the position, every session that waited at that time has been served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct QueuePosition([u64; 2]);

/// Sessions in the order they were queued. A listed session may have nothing to send, if it was served from the other
/// queue.
#[derive(Debug, Default)]
struct Queue {
    sessions: VecDeque<SessionIndex>,
    /// Number of sessions that were taken.
    taken: u64,
}

#[derive(Debug, Clone, Copy)]
struct SessionEntries {
    first: Option<u32>,
    last: u32,
    /// True for each queue that contains the session.
    is_in_queue: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    packets: PendingPackets,
    next: Option<u32>,
}

/// If both queues have sessions, one of this many is taken from the queue for many subscribers.
const MANY_SUBSCRIBERS_SHARE: usize = 4;

impl Schedule {
    /// Queues `packets` for session `index`, and the session in `queue` if it does not wait yet.
    pub fn add(&mut self, index: SessionIndex, packets: PendingPackets, queue: QueueKind) {
        if self.entries_by_session.len() <= index.0 {
            let none = SessionEntries {
                first: None,
                last: 0,
                is_in_queue: [false; 2],
            };
            self.entries_by_session.resize(index.0 + 1, none);
        }
        let at = self.add_entry(packets);
        let own = &mut self.entries_by_session[index.0];
        match own.first {
            None => own.first = Some(at),
            Some(_) => self.entries[own.last as usize].next = Some(at),
        }
        own.last = at;
        // A session in the queue for few subscribers gets all its waiting packets there.
        let waits =
            own.is_in_queue[queue as usize] || own.is_in_queue[QueueKind::FewSubscribers as usize];
        if !waits {
            own.is_in_queue[queue as usize] = true;
            self.queues[queue as usize].sessions.push_back(index);
        }
    }

    /// Removes the next session, and moves all its pending packets to `pending`.
    pub fn take(&mut self, pending: &mut Vec<PendingPackets>) -> Option<SessionIndex> {
        let queue = self.next_queue()?;
        let index = self.queues[queue].sessions.pop_front()?;
        self.queues[queue].taken += 1;
        self.entries_by_session[index.0].is_in_queue[queue] = false;
        self.take_of(index, pending);
        Some(index)
    }

    /// Moves all pending packets of session `index` to `pending`.
    pub fn take_of(&mut self, index: SessionIndex, pending: &mut Vec<PendingPackets>) {
        pending.clear();
        let first = self
            .entries_by_session
            .get_mut(index.0)
            .and_then(|entries| entries.first.take());
        let mut next = first;
        while let Some(at) = next {
            let entry = &mut self.entries[at as usize];
            pending.push(entry.packets);
            next = std::mem::replace(&mut entry.next, self.free);
            self.free = Some(at);
        }
    }

    /// The session that is served `distance` sessions after the last one, if the queue for few subscribers is served
    /// first.
    pub fn ahead(&self, distance: usize) -> Option<SessionIndex> {
        let [few, many] = &self.queues;
        let place = distance - 1;
        let other = || many.sessions.get(place - few.sessions.len());
        few.sessions.get(place).or_else(other).copied()
    }

    /// True when no session waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.sessions.is_empty())
    }

    /// The current position in both queues.
    pub fn position(&self) -> QueuePosition {
        let count = |queue: &Queue| queue.taken + queue.sessions.len() as u64;
        let [few, many] = &self.queues;
        QueuePosition([count(few), count(many)])
    }

    /// True when all sessions that waited at `position` have been served.
    pub fn is_past(&self, position: QueuePosition) -> bool {
        let mut pairs = self.queues.iter().zip(position.0);
        pairs.all(|(queue, count)| queue.taken >= count)
    }

    fn next_queue(&mut self) -> Option<usize> {
        let [few, many] = &self.queues;
        let (few, many) = (!few.sessions.is_empty(), !many.sessions.is_empty());
        let is_few = few && !(many && self.streak + 1 >= MANY_SUBSCRIBERS_SHARE);
        self.streak = if is_few { self.streak + 1 } else { 0 };
        let queue = if is_few {
            QueueKind::FewSubscribers
        } else {
            QueueKind::ManySubscribers
        };
        (few || many).then_some(queue as usize)
    }

    fn add_entry(&mut self, packets: PendingPackets) -> u32 {
        let entry = Entry {
            packets,
            next: None,
        };
        match self.free {
            Some(at) => {
                let place = &mut self.entries[at as usize];
                self.free = place.next;
                *place = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(batch: u32, sub: u32) -> PendingPackets {
        PendingPackets {
            batch,
            sub: SubscriptionIndex(sub),
        }
    }

    fn taken(work: &mut Schedule) -> Option<(usize, Vec<(u32, u32)>)> {
        let mut pending = Vec::new();
        let index = work.take(&mut pending)?.0;
        let pairs = pending.iter().map(|packets| (packets.batch, packets.sub.0));
        Some((index, pairs.collect()))
    }

    #[test]
    fn every_session_gets_its_packets_once_and_in_order() {
        let mut work = Schedule::default();
        for (index, batch, sub) in [(3, 0, 1), (5, 0, 9), (3, 1, 4), (0, 1, 2), (3, 2, 0)] {
            work.add(
                SessionIndex(index),
                packets(batch, sub),
                QueueKind::ManySubscribers,
            );
        }
        assert_eq!(taken(&mut work), Some((3, vec![(0, 1), (1, 4), (2, 0)])));
        // New packets go with the waiting ones for a waiting session, and to the end of the queue for a served one.
        work.add(SessionIndex(3), packets(3, 1), QueueKind::ManySubscribers);
        work.add(SessionIndex(0), packets(3, 2), QueueKind::ManySubscribers);
        assert_eq!(taken(&mut work), Some((5, vec![(0, 9)])));
        assert_eq!(taken(&mut work), Some((0, vec![(1, 2), (3, 2)])));
        assert_eq!(taken(&mut work), Some((3, vec![(3, 1)])));
        assert_eq!(taken(&mut work), None);
        assert!(work.is_empty());
        assert!(work.entries.len() <= 5, "entries are used again");
    }

    #[test]
    fn tracks_with_few_subscribers_go_first_and_starve_no_others() {
        let mut work = Schedule::default();
        (0..20).for_each(|index| {
            work.add(
                SessionIndex(index),
                packets(0, 0),
                QueueKind::ManySubscribers,
            )
        });
        (20..40).for_each(|index| {
            work.add(
                SessionIndex(index),
                packets(1, 0),
                QueueKind::FewSubscribers,
            )
        });
        let order: Vec<usize> = std::iter::from_fn(|| Some(taken(&mut work)?.0)).collect();
        assert_eq!(order[..8], [20, 21, 22, 0, 23, 24, 25, 1]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_session_in_both_queues_is_served_once_with_all_packets() {
        let mut work = Schedule::default();
        work.add(SessionIndex(1), packets(0, 0), QueueKind::ManySubscribers);
        work.add(SessionIndex(2), packets(0, 0), QueueKind::ManySubscribers);
        work.add(SessionIndex(2), packets(1, 1), QueueKind::FewSubscribers);
        work.add(SessionIndex(2), packets(2, 2), QueueKind::ManySubscribers);
        assert_eq!(taken(&mut work), Some((2, vec![(0, 0), (1, 1), (2, 2)])));
        assert_eq!(taken(&mut work), Some((1, vec![(0, 0)])));
        assert_eq!(taken(&mut work), Some((2, vec![])), "it stood there still");
        assert_eq!(taken(&mut work), None);
    }

    #[test]
    fn a_position_is_past_when_all_waiting_sessions_were_served() {
        let mut work = Schedule::default();
        assert!(work.is_past(work.position()));
        work.add(SessionIndex(1), packets(0, 0), QueueKind::ManySubscribers);
        work.add(SessionIndex(2), packets(1, 0), QueueKind::FewSubscribers);
        let position = work.position();
        work.add(SessionIndex(3), packets(2, 0), QueueKind::FewSubscribers);
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(2));
        assert!(!work.is_past(position), "one waits in the other queue");
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(3));
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(1));
        assert!(work.is_past(position));
    }

    #[test]
    fn packets_taken_from_a_session_are_not_served_again() {
        let mut work = Schedule::default();
        work.add(SessionIndex(4), packets(0, 7), QueueKind::ManySubscribers);
        let mut pending = vec![packets(9, 9)];
        work.take_of(SessionIndex(4), &mut pending);
        assert_eq!(pending, [packets(0, 7)]);
        assert_eq!(taken(&mut work), Some((4, vec![])));
        work.take_of(SessionIndex(99), &mut pending);
        assert!(pending.is_empty(), "one that never got anything");
    }
}
