//! Imports of Rust: reads every crate of every package from its root file on, module by module.

mod exempt; // test code, which is exempt
mod modules; // files of modules, and the names in them
mod resolve; // resolves a path to the file that defines its name
mod paths; // finds all paths in a file
mod tokens; // finds paths in macros and attributes, which the parser returns as tokens

use std::collections::BTreeSet;

use crate::import::Imports;
use crate::manifest::Package;
use crate::sources::Sources;
use modules::Modules;

/// Adds the imports of all crates. Returns the files that were read.
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
