//! Resolves a path in a module to the file that defines its name.

use super::modules::{ModuleId, Modules};

/// Maximum number of re-exports to follow. Two or three are usual; a cycle is given up.
const MAX_STEPS: usize = 12;

/// What a path resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) what: What,
    /// The part of the path under which `what` was found.
    pub(super) name: String,
    /// Names along the path that were imported from other files.
    steps: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Module(ModuleId),
    /// The file that defines the name.
    Item(String),
}

/// Whether the name must be a module because the path continues, or can be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamePosition {
    Inner,
    Last,
}

impl Modules {
    /// Resolves `path` in module `from`; `None` if it is not in a crate of the workspace.
    pub(super) fn resolve(&self, from: ModuleId, path: &[String]) -> Option<Found> {
        self.walk(from, path, 0)
    }

    fn walk(&self, from: ModuleId, path: &[String], steps: usize) -> Option<Found> {
        if steps > MAX_STEPS {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let position = if rest.is_empty() {
            NamePosition::Last
        } else {
            NamePosition::Inner
        };
        let (mut found, rest) = match first.as_str() {
            "crate" => (self.found(self.root(from), first, steps), rest),
            "self" => (self.found(from, first, steps), rest),
            "super" => (self.found(self.module(from).parent?, first, steps), rest),
            // `::name` is a crate.
            "" => (
                self.found(self.library(from, rest.first()?)?, rest.first()?, steps),
                &rest[1..],
            ),
            name => {
                let named = self.named(from, name, position, steps);
                (
                    named.or_else(|| Some(self.found(self.library(from, name)?, name, steps)))?,
                    rest,
                )
            }
        };
        for (at, name) in rest.iter().enumerate() {
            let What::Module(module) = found.what else {
                // An enum variant or an associated function.
                return Some(found);
            };
            let position = if at + 1 == rest.len() {
                NamePosition::Last
            } else {
                NamePosition::Inner
            };
            found = match name.as_str() {
                "super" => self.found(self.module(module).parent?, name, found.steps),
                "self" => found,
                name => {
                    self.named(module, name, position, found.steps)
                        .unwrap_or_else(|| {
                            // Made by a macro.
                            let what = What::Item(self.module(module).file.clone());
                            Found {
                                what,
                                name: name.to_owned(),
                                steps: found.steps,
                            }
                        })
                }
            };
        }
        Some(found)
    }

    fn found(&self, module: ModuleId, name: &str, steps: usize) -> Found {
        Found {
            what: What::Module(module),
            name: name.to_owned(),
            steps,
        }
    }

    /// What `name` means in a module: its own definition, or an import. A function may have the
    /// name of a module, so the position in the path decides.
    fn named(
        &self,
        id: ModuleId,
        name: &str,
        position: NamePosition,
        steps: usize,
    ) -> Option<Found> {
        if steps > MAX_STEPS {
            return None;
        }
        let module = self.module(id);
        let item = module.file_by_item.get(name).map(|file| {
            let what = What::Item(file.clone());
            Found {
                what,
                name: name.to_owned(),
                steps,
            }
        });
        let child = module
            .child_by_name
            .get(name)
            .map(|child| self.found(*child, name, steps));
        let taken = module
            .uses
            .iter()
            .filter(|taken| taken.name.as_deref() == Some(name));
        let taken = taken.filter_map(|taken| self.walk(id, &taken.path, steps + 1));
        let globs = module.uses.iter().filter(|taken| taken.name.is_none());
        let globs = globs.filter_map(|glob| match self.walk(id, &glob.path, steps + 1)? {
            Found {
                what: What::Module(module),
                steps,
                ..
            } => self.named(module, name, position, steps + 1),
            Found {
                what: What::Item(_),
                ..
            } => None,
        });
        let mut second = None;
        for found in item.into_iter().chain(child).chain(taken).chain(globs) {
            let is_module = matches!(found.what, What::Module(_));
            if is_module == (position == NamePosition::Inner) {
                return Some(found);
            }
            second.get_or_insert(found);
        }
        second
    }
}
