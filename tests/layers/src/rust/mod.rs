//! Imports of Rust: every crate of every package is read from its first file on, module by module.

mod exempt; // code that only tests see
mod modules; // which file is which module, and what names it has
mod resolve; // from a path to the file that defines what it names
mod paths; // the paths that a file has, wherever they stand
mod tokens; // those in macros and attributes, which are tokens to the parser

use std::collections::BTreeSet;

use crate::import::Imports;
use crate::manifest::Package;
use crate::sources::Sources;
use modules::Modules;

/// Adds the imports of all crates; the files that were read come back.
pub(crate) fn read(
    sources: &Sources,
    packages: &[Package],
    imports: &mut Imports,
) -> anyhow::Result<BTreeSet<String>> {
    let modules = Modules::of(sources, packages)?;
    for file in &modules.files {
        paths::read(file, &modules, sources, imports);
    }
    Ok(modules.files.iter().map(|file| file.path.clone()).collect())
}
