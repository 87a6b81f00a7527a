//! Sources as texts, and the findings in them.

mod order; // what the order says, and what is wrong with it
mod rust; // every kind of import of Rust
mod exempt; // what only tests see
mod circles; // files that import each other
mod manifests; // packages and their dependencies
mod javascript; // every kind of import of an ES module
mod disk; // the same from a disk

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

/// The document with its first line of layers in line 6.
fn architecture(lines: &str) -> String {
    format!("# Architecture\n\n## Layers\n\n```layers\n{lines}\n```\n")
}
