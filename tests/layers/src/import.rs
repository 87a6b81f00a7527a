//! An import: the importing file, the imported file, and the line.

use std::collections::BTreeMap;

/// A file that imports, and the file that defines what it imports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The file that defines the imported name.
    pub(crate) name: String,
}

/// All imports, each once, with the first line that has it.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    line_by_import: BTreeMap<Import, usize>,
}

impl Imports {
    /// Imports of a file from itself are ignored.
    pub(crate) fn add(&mut self, from: &str, line: usize, to: &str, name: &str) {
        if from == to {
            return;
        }
        let import = Import {
            from: from.to_owned(),
            to: to.to_owned(),
            name: name.to_owned(),
        };
        let first = self.line_by_import.entry(import).or_insert(line);
        *first = line.min(*first);
    }

    pub(crate) fn len(&self) -> usize {
        self.line_by_import.len()
    }

    /// The imports, sorted by importing and imported file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Import, usize)> {
        self.line_by_import
            .iter()
            .map(|(import, line)| (import, *line))
    }
}
