//! Resolves a path in a module to the file that defines its name.

use super::modules::{ModuleId, Modules};

/// Re-exports of re-exports, of which there are two or three; what goes round is given up.
const MAX_STEPS: usize = 12;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) what: What,
    /// Of the path: the name that `what` was found under.
    pub(super) name: String,
    /// Names on the way that were taken from elsewhere.
    steps: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Module(ModuleId),
    /// The file that defines it.
    Item(String),
}

/// Whether a name is looked for that has to lead further, or that may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inner,
    Last,
}

impl Modules {
    /// What `path` means in module `from`; none for what is of no crate of the tree.
    pub(super) fn resolve(&self, from: ModuleId, path: &[String]) -> Option<Found> {
        self.walk(from, path, 0)
    }

    fn walk(&self, from: ModuleId, path: &[String], steps: usize) -> Option<Found> {
        if steps > MAX_STEPS {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let place = if rest.is_empty() {
            Place::Last
        } else {
            Place::Inner
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
                let named = self.named(from, name, place, steps);
                (
                    named.or_else(|| Some(self.found(self.library(from, name)?, name, steps)))?,
                    rest,
                )
            }
        };
        for (at, name) in rest.iter().enumerate() {
            let What::Module(module) = found.what else {
                // A variant, an associated function.
                return Some(found);
            };
            let place = if at + 1 == rest.len() {
                Place::Last
            } else {
                Place::Inner
            };
            found = match name.as_str() {
                "super" => self.found(self.module(module).parent?, name, found.steps),
                "self" => found,
                name => {
                    self.named(module, name, place, found.steps)
                        .unwrap_or_else(|| {
                            // A macro makes it.
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

    /// What `name` is in a module: one of its own, or taken from elsewhere. A function may bear the name of a module,
    /// so that its place in the path decides.
    fn named(&self, id: ModuleId, name: &str, place: Place, steps: usize) -> Option<Found> {
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
            } => self.named(module, name, place, steps + 1),
            Found {
                what: What::Item(_),
                ..
            } => None,
        });
        let mut second = None;
        for found in item.into_iter().chain(child).chain(taken).chain(globs) {
            let is_module = matches!(found.what, What::Module(_));
            if is_module == (place == Place::Inner) {
                return Some(found);
            }
            second.get_or_insert(found);
        }
        second
    }
}
