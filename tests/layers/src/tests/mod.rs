//! Sources as texts, and the findings in them.

mod order; // the order, and errors in it
mod rust; // every kind of import of Rust
mod exempt; // test code
mod circles; // files that import each other
mod manifests; // packages and their dependencies
mod javascript; // every kind of import of an ES module
mod disk; // sources read from files

use crate::{Report, Sources, report};

/// One package with sources in `src`, with the layers `lines`.
fn package(lines: &str, files: &[(&str, &str)]) -> Report {
    let manifest = ("Cargo.toml", "[package]\nname = 'pack-age'\n");
    read(lines, &[&[manifest], files].concat())
}

fn read(lines: &str, files: &[(&str, &str)]) -> Report {
    try_read(&architecture(lines), files).unwrap()
}

fn try_read(architecture: &str, files: &[(&str, &str)]) -> anyhow::Result<Report> {
    let sources: Sources = [("ARCHITECTURE.md", architecture)]
        .iter()
        .chain(files)
        .copied()
        .collect();
    report(&sources)
}

/// An ARCHITECTURE.md whose first line of layers is line 6.
fn architecture(lines: &str) -> String {
    format!("# Architecture\n\n## Layers\n\n```layers\n{lines}\n```\n")
}
