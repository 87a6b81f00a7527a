//! Sessions that need a new choice of layers: a set of indices.

use crate::key::SessionIndex;

/// Sessions to come back to, each once.
#[derive(Debug, Default)]
pub(crate) struct DirtySet {
    list: Vec<SessionIndex>,
    is_marked: Vec<bool>,
}

impl DirtySet {
    /// Adds `index`, unless it is in the list.
    pub(crate) fn mark(&mut self, index: SessionIndex) {
        if self.is_marked.len() <= index.0 {
            self.is_marked.resize(index.0 + 1, false);
        }
        if !std::mem::replace(&mut self.is_marked[index.0], true) {
            self.list.push(index);
        }
    }

    /// True when there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes one session out of the set.
    pub(crate) fn pop(&mut self) -> Option<SessionIndex> {
        let index = self.list.pop()?;
        self.is_marked[index.0] = false;
        Some(index)
    }
}
