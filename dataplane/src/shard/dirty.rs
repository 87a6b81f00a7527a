//! Sessions that need a new choice of layers: a set of indices.

use crate::key::SessionIndex;

/// Sessions whose layers must be chosen again, each listed once.
#[derive(Debug, Default)]
pub(crate) struct DirtySet {
    list: Vec<SessionIndex>,
    is_marked: Vec<bool>,
}

impl DirtySet {
    /// Adds `index`, unless the set contains it.
    pub(crate) fn mark(&mut self, index: SessionIndex) {
        if self.is_marked.len() <= index.0 {
            self.is_marked.resize(index.0 + 1, false);
        }
        if !std::mem::replace(&mut self.is_marked[index.0], true) {
            self.list.push(index);
        }
    }

    /// True when no session is marked.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Removes one session from the set and returns it.
    pub(crate) fn pop(&mut self) -> Option<SessionIndex> {
        let index = self.list.pop()?;
        self.is_marked[index.0] = false;
        Some(index)
    }
}
