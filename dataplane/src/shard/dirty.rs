//! A list of session indices without duplicates.

/// Sessions to come back to, each once.
#[derive(Debug, Default)]
pub(crate) struct DirtySet {
    list: Vec<usize>,
    is_marked: Vec<bool>,
}

impl DirtySet {
    /// Adds `index`, unless it is in the list.
    pub(crate) fn mark(&mut self, index: usize) {
        if self.is_marked.len() <= index {
            self.is_marked.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.is_marked[index], true) {
            self.list.push(index);
        }
    }

    /// True when there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes one out.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let index = self.list.pop()?;
        self.is_marked[index] = false;
        Some(index)
    }
}
