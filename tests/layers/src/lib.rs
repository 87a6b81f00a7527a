//! Reads the imports of the whole workspace, and holds them against the order in ARCHITECTURE.md: a folder imports from
//! lower layers only, and files form no circle.
//!
//! Sources come as texts by path, so that tests need no disk. Each language makes [`Import`]s of them; nothing past
//! that knows a language.
//!
//! What counts as an import:
//!
//! * a name, of the file that defines it. `crate::room::Member`, which `room/mod.rs` only hands on, is an import of
//!   `room/member.rs`. Where the definition is not seen (a macro makes it) it is an import of the module's file;
//! * a module that a `use` names counts by what is taken through it: `use crate::room;` and `room::Member` is an import
//!   of `room/member.rs` alone. A glob is an import of the module's file, and of what is taken through it;
//! * `mod child;` is none, and `pub use child::Name` is none: a folder's `mod.rs` lists its parts and knows nothing of
//!   them by that. A name that `mod.rs` also uses itself is an import of the child;
//! * methods and fields are no imports: they follow from the type, which was imported;
//! * a dependency in a Cargo.toml; a `#[path]` to another folder; `include!`, `include_str!` and `include_bytes!` of a
//!   source; every kind of import of an ES module by a relative path.
//!
//! Test code is exempt: what `cfg(test)` guards, modules called `tests`, and dev-dependencies.

#[cfg(test)]
mod tests; // sources as texts, and what is found in them

mod sources; // texts by path, and how they are read from the disk
mod manifest; // packages: their crates and what they depend on
mod rust; // imports of Rust
mod javascript; // imports of ES modules
mod import; // imports between files
mod order; // the order that ARCHITECTURE.md states
mod upward; // imports against it
mod circles; // files that import each other

use std::collections::BTreeSet;

use serde::Serialize;

use import::Imports;
pub use sources::Sources;

/// What was found, and how much was read.
#[derive(Debug)]
pub struct Report {
    /// Each a line of text.
    pub findings: Vec<String>,
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Figures {
    suite: &'static str,
    /// Source files that were read.
    files: usize,
    /// Names that files import of each other.
    imports: usize,
    /// Imports against the order, and names that it lacks or has in vain.
    upward: usize,
    circles: usize,
}

impl Report {
    /// The figures as JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(&self.figures).expect("figures are plain numbers")
    }
}

/// Holds sources against the order that stands in their ARCHITECTURE.md.
pub fn report(sources: &Sources) -> anyhow::Result<Report> {
    let order = order::Order::of(sources)?;
    let packages = manifest::packages(sources)?;
    let mut imports = Imports::default();
    let mut files: BTreeSet<String> = rust::read(sources, &packages, &mut imports)?;
    files.extend(javascript::read(sources, &mut imports));
    manifest::dependencies(&packages, &mut imports);
    let mut findings = upward::findings(&order, &files, &imports);
    let upward = findings.len();
    findings.extend(circles::findings(&imports));
    let figures = Figures {
        suite: "layers",
        files: files.len(),
        imports: imports.len(),
        upward,
        circles: findings.len() - upward,
    };
    Ok(Report { findings, figures })
}
