//! A list of session indices without duplicates.

use std::time::Instant;

/// Sessions to come back to, each once, with the earliest time it was marked with.
#[derive(Debug, Default)]
pub struct Touched {
    list: Vec<usize>,
    marked: Vec<Option<Instant>>,
}

impl Touched {
    /// Adds `index`, unless it is in the list.
    pub fn mark(&mut self, index: usize, at: Instant) {
        if self.marked.len() <= index {
            self.marked.resize(index + 1, None);
        }
        let slot = &mut self.marked[index];
        if slot.is_none() {
            self.list.push(index);
        }
        *slot = Some(slot.map_or(at, |earlier| earlier.min(at)));
    }

    /// Takes one out.
    pub fn pop(&mut self) -> Option<(usize, Instant)> {
        let index = self.list.pop()?;
        let at = self.marked[index]
            .take()
            .expect("what is in the list is marked");
        Some((index, at))
    }
}
