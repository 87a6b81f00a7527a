//! Reads the imports of the whole workspace and checks them against the order in ARCHITECTURE.md: a
//! folder imports only from lower layers, and files do not import each other in a cycle.
//!
//! Sources are passed as texts by path, so tests need no files. Each language converts its sources
//! to [`Import`]s. Later steps do not depend on the language.
//!
//! What counts as an import:
//!
//! * a name: the import of the file that defines it. `crate::room::Member`, which `room/mod.rs`
//!   only re-exports, is an import of `room/member.rs`. If a macro makes the definition, it is an
//!   import of the module's file;
//! * a module in a `use`: the imports of the names that are used through it. `use crate::room;` and
//!   `room::Member` is an import of `room/member.rs` only. A glob is an import of the module's file,
//!   and of the names that are used through it;
//! * methods and fields are not imports, because their type is imported;
//! * `mod child;` and `pub use child::Name` are not imports: a folder's `mod.rs` lists its parts. A
//!   name that `mod.rs` uses itself is an import of the child;
//! * a dependency in a Cargo.toml; a `#[path]` to another folder; `include!`, `include_str!` and
//!   `include_bytes!` of a source; each import of an ES module by a relative path.
//!
//! Test code is exempt: code guarded by `cfg(test)`, modules named `tests`, and dev-dependencies.

#[cfg(test)]
mod tests; // sources as texts, and the findings in them

mod sources; // texts by path, read from files
mod manifest; // packages: their crates and dependencies
mod rust; // imports of Rust
mod javascript; // imports of ES modules
mod import; // imports between files
mod order; // the order in ARCHITECTURE.md
mod upward; // imports against the order
mod circles; // files that import each other

use std::collections::BTreeSet;

use serde::Serialize;

use import::Imports;
pub use sources::Sources;

/// Findings, and figures of what was read.
#[derive(Debug)]
pub struct Report {
    /// The findings, each a line of text.
    pub findings: Vec<String>,
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Figures {
    suite: &'static str,
    /// Source files that were read.
    files: usize,
    /// Number of imports between files.
    imports: usize,
    /// Imports against the order, names that it lacks, and names that do not exist.
    upward: usize,
    circles: usize,
}

impl Report {
    /// The figures as JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(&self.figures).expect("figures are plain numbers")
    }
}

/// Checks sources against the order in their ARCHITECTURE.md.
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
