//! Events that happen later, ordered by time. Events of the same time happen in the order in which they were added, so
//! the order never depends on the host.

use std::collections::BTreeMap;

use crate::clock::Time;

/// Events in the order of their times.
#[derive(Debug)]
pub struct Events<E> {
    by_time: BTreeMap<EventId, E>,
    added: u64,
}

/// Names an event, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    at: Time,
    number: u64,
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self {
            by_time: BTreeMap::new(),
            added: 0,
        }
    }
}

impl<E> Events<E> {
    /// Adds `event`, which happens at `at`.
    pub fn add(&mut self, at: Time, event: E) -> EventId {
        self.added += 1;
        let id = EventId {
            at,
            number: self.added,
        };
        self.by_time.insert(id, event);
        id
    }

    /// Removes the event, unless it has happened.
    pub fn cancel(&mut self, id: EventId) -> Option<E> {
        self.by_time.remove(&id)
    }

    /// Time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.by_time.first_key_value().map(|(id, _)| id.at)
    }

    /// Removes the next event that is due at `now`.
    pub fn take_due(&mut self, now: Time) -> Option<E> {
        let next = self.by_time.first_entry()?;
        (next.key().at <= now).then(|| next.remove())
    }

    /// Removes all events of which `is_wanted` is true, in order, with their times.
    pub fn take_if(&mut self, is_wanted: impl Fn(&E) -> bool) -> Vec<(Time, E)> {
        let (mut wanted, mut others) = (Vec::new(), BTreeMap::new());
        for (id, event) in std::mem::take(&mut self.by_time) {
            match is_wanted(&event) {
                true => wanted.push((id.at, event)),
                false => drop(others.insert(id, event)),
            }
        }
        self.by_time = others;
        wanted
    }

    /// Number of events that have not happened.
    pub fn len(&self) -> usize {
        self.by_time.len()
    }

    /// True when no event is left.
    pub fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_by_number() {
        let mut events = Events::default();
        for (at, name) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            events.add(Time::from_ms(at), name);
        }
        assert_eq!(events.next_at(), Some(Time::from_ms(1)));
        let mut due = |ms| {
            let now = Time::from_ms(ms);
            std::iter::from_fn(|| events.take_due(now)).collect::<String>()
        };
        assert_eq!([due(0), due(1), due(5), due(9)], ["", "ab", "cd", ""]);
    }

    #[test]
    fn a_cancelled_event_does_not_happen() {
        let mut events = Events::default();
        let first = events.add(Time::from_ms(1), "a");
        events.add(Time::from_ms(1), "b");
        assert_eq!(events.cancel(first), Some("a"));
        assert_eq!(events.cancel(first), None);
        assert_eq!(events.len(), 1);
        assert_eq!(events.take_due(Time::from_ms(1)), Some("b"));
        assert!(events.is_empty());
    }
}
