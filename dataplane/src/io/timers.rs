//! Deadlines by index, in a heap that is never scanned.
//!
//! Deadlines of sessions change with every packet, so changing one does not move its heap entry. The entry stays at the
//! earliest deadline that was set, and is inserted again if it comes up early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines by index, in a binary heap.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By index: the deadline, and the time of its valid heap entry.
    by_index: Vec<Option<Timer>>,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    deadline: Instant,
    queued: Instant,
}

impl Timers {
    /// Sets the deadline of `index`; replaces an earlier one.
    pub fn set(&mut self, index: usize, deadline: Instant) {
        if self.by_index.len() <= index {
            self.by_index.resize(index + 1, None);
        }
        let slot = &mut self.by_index[index];
        match slot {
            Some(timer) if timer.queued <= deadline => timer.deadline = deadline,
            Some(_) | None => {
                *slot = Some(Timer {
                    deadline,
                    queued: deadline,
                });
                self.heap.push(Reverse((deadline, index)));
            }
        }
    }

    /// Removes the timer of `index`.
    pub fn clear(&mut self, index: usize) {
        if let Some(slot) = self.by_index.get_mut(index) {
            *slot = None;
        }
    }

    /// Returns an index whose deadline is due, and clears the deadline.
    pub fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((queued, index))) = self.heap.peek().copied() {
            if queued > now {
                return None;
            }
            self.heap.pop();
            match self.by_index[index] {
                Some(timer) if timer.queued != queued => {} // a newer entry is valid
                Some(timer) if timer.deadline > now => {
                    self.by_index[index] = None;
                    self.set(index, timer.deadline);
                }
                Some(_) => {
                    self.by_index[index] = None;
                    return Some(index);
                }
                None => {}
            }
        }
        None
    }

    /// Time of the next [`pop_due`](Self::pop_due); may be earlier than needed, never later.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((queued, _))| *queued)
    }

    /// Number of heap entries, invalid ones included.
    #[cfg(test)]
    pub fn queued(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_up_once_at_their_latest_setting() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(0, at(10));
        timers.set(1, at(20));
        timers.set(0, at(30)); // later
        timers.set(1, at(5)); // earlier
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(6)), Some(1));
        assert_eq!(timers.pop_due(at(29)), None);
        assert_eq!(timers.next(), Some(at(30)));
        assert_eq!(timers.pop_due(at(31)), Some(0));
        assert_eq!(timers.pop_due(at(100)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cleared_index_never_comes_up_and_can_be_used_again() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(3, start);
        timers.clear(3);
        assert_eq!(timers.pop_due(start), None);
        timers.set(3, start + Duration::from_secs(1));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(timers.pop_due(start + Duration::from_secs(1)), Some(3));
    }
}
