//! Which sessions packets must be sealed for, in order. For each session: the batches of packets that wait, with their
//! subscriptions.
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
    ends: Vec<Ends>,
    entries: Vec<Entry>,
    /// First entry of the free list.
    free: Option<u32>,
    lines: [Line; 2],
    /// Sessions taken from the queue for few subscribers since the last one from the other queue.
    streak: usize,
}

/// One of the two queues of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// Sessions with packets of tracks with few subscribers.
    Short = 0,
    /// Sessions with packets of tracks with many subscribers.
    Long = 1,
}

/// The packets of one track for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Number of the packets' batch in the backlog.
    pub batch: u32,
    /// The subscription of the session.
    pub sub: SubscriptionIndex,
}

/// A position in both queues. When both are past the position, every session that waited at that time has been served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moment([u64; 2]);

/// Sessions in the order they were queued. A listed session may have nothing to send, if it was served from the other
/// queue.
#[derive(Debug, Default)]
struct Line {
    sessions: VecDeque<SessionIndex>,
    /// Number of sessions that were taken.
    taken: u64,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: Option<u32>,
    last: u32,
    /// True for each queue that contains the session.
    stands: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    portion: Portion,
    next: Option<u32>,
}

/// If both queues have sessions, one of this many is taken from the queue for many subscribers.
const LONG_SHARE: usize = 4;

impl Schedule {
    /// Queues `portion` for session `index`, and the session in `line` if it does not wait yet.
    pub fn add(&mut self, index: SessionIndex, portion: Portion, line: LineKind) {
        if self.ends.len() <= index.0 {
            let none = Ends {
                first: None,
                last: 0,
                stands: [false; 2],
            };
            self.ends.resize(index.0 + 1, none);
        }
        let at = self.enter(portion);
        let ends = &mut self.ends[index.0];
        match ends.first {
            None => ends.first = Some(at),
            Some(_) => self.entries[ends.last as usize].next = Some(at),
        }
        ends.last = at;
        // A session in the queue for few subscribers gets all its waiting packets there.
        let waits = ends.stands[line as usize] || ends.stands[LineKind::Short as usize];
        if !waits {
            ends.stands[line as usize] = true;
            self.lines[line as usize].sessions.push_back(index);
        }
    }

    /// Removes the next session, and moves all its pending packets to `portions`.
    pub fn take(&mut self, portions: &mut Vec<Portion>) -> Option<SessionIndex> {
        let line = self.next_line()?;
        let index = self.lines[line].sessions.pop_front()?;
        self.lines[line].taken += 1;
        self.ends[index.0].stands[line] = false;
        self.take_of(index, portions);
        Some(index)
    }

    /// Moves all pending packets of session `index` to `portions`.
    pub fn take_of(&mut self, index: SessionIndex, portions: &mut Vec<Portion>) {
        portions.clear();
        let first = self
            .ends
            .get_mut(index.0)
            .and_then(|ends| ends.first.take());
        let mut next = first;
        while let Some(at) = next {
            let entry = &mut self.entries[at as usize];
            portions.push(entry.portion);
            next = std::mem::replace(&mut entry.next, self.free);
            self.free = Some(at);
        }
    }

    /// The session that is served `distance` sessions after the last one, if the queue for few subscribers is served
    /// first.
    pub fn ahead(&self, distance: usize) -> Option<SessionIndex> {
        let [short, long] = &self.lines;
        let place = distance - 1;
        let other = || long.sessions.get(place - short.sessions.len());
        short.sessions.get(place).or_else(other).copied()
    }

    /// True when no session waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.sessions.is_empty())
    }

    /// The current position in both queues.
    pub fn moment(&self) -> Moment {
        let count = |line: &Line| line.taken + line.sessions.len() as u64;
        let [short, long] = &self.lines;
        Moment([count(short), count(long)])
    }

    /// True when all sessions that waited at `moment` have been served.
    pub fn is_past(&self, moment: Moment) -> bool {
        let mut pairs = self.lines.iter().zip(moment.0);
        pairs.all(|(line, count)| line.taken >= count)
    }

    fn next_line(&mut self) -> Option<usize> {
        let [short, long] = &self.lines;
        let (short, long) = (!short.sessions.is_empty(), !long.sessions.is_empty());
        let is_short = short && !(long && self.streak + 1 >= LONG_SHARE);
        self.streak = if is_short { self.streak + 1 } else { 0 };
        let line = if is_short {
            LineKind::Short
        } else {
            LineKind::Long
        };
        (short || long).then_some(line as usize)
    }

    fn enter(&mut self, portion: Portion) -> u32 {
        let entry = Entry {
            portion,
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

    fn portion(batch: u32, sub: u32) -> Portion {
        Portion {
            batch,
            sub: SubscriptionIndex(sub),
        }
    }

    fn taken(work: &mut Schedule) -> Option<(usize, Vec<(u32, u32)>)> {
        let mut portions = Vec::new();
        let index = work.take(&mut portions)?.0;
        let pairs = portions
            .iter()
            .map(|portion| (portion.batch, portion.sub.0));
        Some((index, pairs.collect()))
    }

    #[test]
    fn every_session_gets_its_portions_in_order_and_once() {
        let mut work = Schedule::default();
        for (index, batch, sub) in [(3, 0, 1), (5, 0, 9), (3, 1, 4), (0, 1, 2), (3, 2, 0)] {
            work.add(SessionIndex(index), portion(batch, sub), LineKind::Long);
        }
        assert_eq!(taken(&mut work), Some((3, vec![(0, 1), (1, 4), (2, 0)])));
        // New packets go with the waiting ones for a waiting session, and to the end of the queue for a served one.
        work.add(SessionIndex(3), portion(3, 1), LineKind::Long);
        work.add(SessionIndex(0), portion(3, 2), LineKind::Long);
        assert_eq!(taken(&mut work), Some((5, vec![(0, 9)])));
        assert_eq!(taken(&mut work), Some((0, vec![(1, 2), (3, 2)])));
        assert_eq!(taken(&mut work), Some((3, vec![(3, 1)])));
        assert_eq!(taken(&mut work), None);
        assert!(work.is_empty());
        assert!(work.entries.len() <= 5, "entries are used again");
    }

    #[test]
    fn what_few_get_goes_first_and_keeps_nobody_from_being_served() {
        let mut work = Schedule::default();
        (0..20).for_each(|index| work.add(SessionIndex(index), portion(0, 0), LineKind::Long));
        (20..40).for_each(|index| work.add(SessionIndex(index), portion(1, 0), LineKind::Short));
        let order: Vec<usize> = std::iter::from_fn(|| Some(taken(&mut work)?.0)).collect();
        assert_eq!(order[..8], [20, 21, 22, 0, 23, 24, 25, 1]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_session_of_both_lines_is_served_once_with_everything() {
        let mut work = Schedule::default();
        work.add(SessionIndex(1), portion(0, 0), LineKind::Long);
        work.add(SessionIndex(2), portion(0, 0), LineKind::Long);
        work.add(SessionIndex(2), portion(1, 1), LineKind::Short);
        work.add(SessionIndex(2), portion(2, 2), LineKind::Long);
        assert_eq!(taken(&mut work), Some((2, vec![(0, 0), (1, 1), (2, 2)])));
        assert_eq!(taken(&mut work), Some((1, vec![(0, 0)])));
        assert_eq!(taken(&mut work), Some((2, vec![])), "it stood there still");
        assert_eq!(taken(&mut work), None);
    }

    #[test]
    fn a_moment_is_past_when_all_who_waited_were_served() {
        let mut work = Schedule::default();
        assert!(work.is_past(work.moment()));
        work.add(SessionIndex(1), portion(0, 0), LineKind::Long);
        work.add(SessionIndex(2), portion(1, 0), LineKind::Short);
        let moment = work.moment();
        work.add(SessionIndex(3), portion(2, 0), LineKind::Short);
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(2));
        assert!(!work.is_past(moment), "one waits in the other line");
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(3));
        assert_eq!(taken(&mut work).map(|(index, _)| index), Some(1));
        assert!(work.is_past(moment));
    }

    #[test]
    fn what_is_taken_of_a_session_is_not_served_again() {
        let mut work = Schedule::default();
        work.add(SessionIndex(4), portion(0, 7), LineKind::Long);
        let mut portions = vec![portion(9, 9)];
        work.take_of(SessionIndex(4), &mut portions);
        assert_eq!(portions, [portion(0, 7)]);
        assert_eq!(taken(&mut work), Some((4, vec![])));
        work.take_of(SessionIndex(99), &mut portions);
        assert!(portions.is_empty(), "one that never got anything");
    }
}
