//! What is to be sealed in this turn: for each session, which tracks' packets for which subscription.
//!
//! Dense lists by index, linked through one vector: finding out who gets a packet touches no session.

/// Sessions with packets to seal, in the order they got them.
#[derive(Debug, Default)]
pub struct Work {
    /// By session: its first and last entry.
    ends: Vec<Ends>,
    entries: Vec<Entry>,
    sessions: Vec<usize>,
    /// As many of the sessions as were taken.
    taken: usize,
}

/// The packets of one track for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Place of the track among those with packets in this turn.
    pub track: u32,
    /// The subscription of the session.
    pub sub: u32,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    portion: Portion,
    next: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl Work {
    /// Adds `portion` to what session `index` gets.
    pub fn add(&mut self, index: usize, portion: Portion) {
        if self.ends.len() <= index {
            let none = Ends {
                first: NONE,
                last: NONE,
            };
            self.ends.resize(index + 1, none);
        }
        let at = self.entries.len() as u32;
        let next = NONE;
        self.entries.push(Entry { portion, next });
        let ends = &mut self.ends[index];
        if ends.first == NONE {
            ends.first = at;
            self.sessions.push(index);
        } else {
            self.entries[ends.last as usize].next = at;
        }
        ends.last = at;
    }

    /// The next session, and where its portions begin.
    pub fn next_session(&mut self) -> Option<(usize, Portions)> {
        let Some(&index) = self.sessions.get(self.taken) else {
            self.entries.clear();
            self.sessions.clear();
            self.taken = 0;
            return None;
        };
        self.taken += 1;
        let first = std::mem::replace(&mut self.ends[index].first, NONE);
        Some((index, Portions(first)))
    }

    /// The session that comes `distance` after the one taken last.
    pub fn ahead(&self, distance: usize) -> Option<usize> {
        self.sessions.get(self.taken + distance - 1).copied()
    }
}

/// Walks the portions of one session.
#[derive(Debug, Clone, Copy)]
pub struct Portions(u32);

impl Portions {
    /// The next one.
    pub fn next(&mut self, work: &Work) -> Option<Portion> {
        let entry = work.entries.get(self.0 as usize)?;
        self.0 = entry.next;
        Some(entry.portion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_gets_its_portions_in_order_and_once() {
        let portion = |track, sub| Portion { track, sub };
        let mut work = Work::default();
        for (index, track, sub) in [(3, 0, 1), (5, 0, 9), (3, 1, 4), (0, 1, 2), (3, 2, 0)] {
            work.add(index, portion(track, sub));
        }
        let mut seen = Vec::new();
        while let Some((index, mut portions)) = work.next_session() {
            while let Some(portion) = portions.next(&work) {
                seen.push((index, portion.track, portion.sub));
            }
        }
        assert_eq!(
            seen,
            [(3, 0, 1), (3, 1, 4), (3, 2, 0), (5, 0, 9), (0, 1, 2)]
        );
        assert!(work.next_session().is_none());
        work.add(3, portion(0, 0));
        assert_eq!(work.next_session().map(|(index, _)| index), Some(3));
    }
}
