//! The order of folders in ARCHITECTURE.md: lines `path: lowest < next < next` in fenced blocks
//! with the info string `layers`. Names on one level must not import each other.

use std::collections::BTreeMap;

use crate::sources::{ARCHITECTURE, Sources};

/// First line of a block.
const FENCE: &str = "```layers";
/// Last line of a block.
const FENCE_END: &str = "```";

/// The layers of each folder that has a line.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) folders: Vec<Folder>,
}

/// One line of the order: a folder and its names.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Empty for the root of the workspace.
    pub(crate) path: String,
    /// Line number in ARCHITECTURE.md, counted from 1.
    pub(crate) line: usize,
    level_by_name: BTreeMap<String, usize>,
}

/// Why the order cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("there is no {ARCHITECTURE}")]
    NoDocument,
    #[error("{ARCHITECTURE} has no block {FENCE}: no order is stated")]
    NoBlock,
    #[error("{ARCHITECTURE}:{line}: the block that begins here does not end")]
    Open { line: usize },
    #[error("{ARCHITECTURE}:{line}: '{text}' is not `path: name < name`")]
    Line { line: usize, text: String },
    #[error("{ARCHITECTURE}:{line}: {what} '{name}' stands twice")]
    Twice {
        line: usize,
        what: &'static str,
        name: String,
    },
}

impl Order {
    pub(crate) fn of(sources: &Sources) -> Result<Self, Error> {
        let text = sources.text(ARCHITECTURE).ok_or(Error::NoDocument)?;
        let mut this = Self::default();
        let mut block = None;
        let mut blocks = 0;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            match block {
                None if text == FENCE => (block, blocks) = (Some(line), blocks + 1),
                Some(_) if text == FENCE_END => block = None,
                Some(_) if !text.is_empty() => this.add(Folder::of(text, line)?)?,
                Some(_) | None => {}
            }
        }
        match block {
            Some(line) => Err(Error::Open { line }),
            None if blocks == 0 => Err(Error::NoBlock),
            None => Ok(this),
        }
    }

    fn add(&mut self, folder: Folder) -> Result<(), Error> {
        if self.folders.iter().any(|other| other.path == folder.path) {
            let (line, name) = (folder.line, folder.path);
            return Err(Error::Twice {
                line,
                what: "folder",
                name,
            });
        }
        self.folders.push(folder);
        Ok(())
    }
}

impl Folder {
    fn of(text: &str, line: usize) -> Result<Self, Error> {
        let wrong = || Error::Line {
            line,
            text: text.to_owned(),
        };
        let (path, levels) = text.split_once(':').ok_or_else(wrong)?;
        let path = path.trim().trim_end_matches('/');
        let mut level_by_name = BTreeMap::new();
        for (level, names) in levels.split('<').enumerate() {
            if path.is_empty() || names.trim().is_empty() {
                return Err(wrong());
            }
            for name in names.split_whitespace() {
                if level_by_name.insert(name.to_owned(), level).is_some() {
                    let name = name.to_owned();
                    return Err(Error::Twice {
                        line,
                        what: "name",
                        name,
                    });
                }
            }
        }
        let path = if path == "." { "" } else { path }.to_owned();
        Ok(Self {
            path,
            line,
            level_by_name,
        })
    }

    /// The folder as written in the document.
    pub(crate) fn shown(&self) -> &str {
        if self.path.is_empty() {
            "."
        } else {
            &self.path
        }
    }

    /// Level of a name, 0 is the lowest; `None` if the line does not have the name.
    pub(crate) fn level(&self, name: &str) -> Option<usize> {
        self.level_by_name.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.level_by_name.keys().map(String::as_str)
    }
}
