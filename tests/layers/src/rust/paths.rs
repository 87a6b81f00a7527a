//! Finds all paths in a file: in `use`, types, expressions, macros and attributes.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

use super::exempt::{is_test, of_impl_item, of_item, of_statement, of_trait_item};
use super::modules::{File, ModuleId, Modules, Use, plain, uses};
use super::resolve::{Found, What};
use super::tokens;
use crate::import::Imports;
use crate::sources::{Sources, folder_of, is_source, join};

/// Macros that include another file.
const INCLUDES: [&str; 3] = ["include", "include_str", "include_bytes"];

/// Adds the imports of one file.
pub(super) fn read(file: &File, modules: &Modules, sources: &Sources, imports: &mut Imports) {
    for (line, path) in &file.elsewhere {
        imports.add(&file.path, *line, path, "the module");
    }
    let mut reader = Reader {
        file,
        modules,
        sources,
        imports,
        module: file.module,
        blocks: Vec::new(),
        used: BTreeSet::new(),
        waiting: Vec::new(),
    };
    reader.visit_file(&file.syntax);
    reader.conclude();
}

struct Reader<'a> {
    file: &'a File,
    modules: &'a Modules,
    sources: &'a Sources,
    imports: &'a mut Imports,
    /// The module that is being read.
    module: ModuleId,
    /// `use` statements of the enclosing blocks, innermost last.
    blocks: Vec<Vec<Use>>,
    /// First names of paths, with the modules that have them. A `use` may name a module.
    used: BTreeSet<(ModuleId, String)>,
    /// `use` of whole modules, and globs. If nothing is used through them, they are imports of the
    /// module's file.
    waiting: Vec<(ModuleId, Option<String>, Found, usize)>,
}

impl Reader<'_> {
    fn conclude(self) {
        for (module, name, found, line) in self.waiting {
            let is_used = name.is_some_and(|name| self.used.contains(&(module, name)));
            let What::Module(whole) = found.what else {
                continue;
            };
            if !is_used {
                let to = &self.modules.module(whole).file;
                self.imports.add(&self.file.path, line, to, &found.name);
            }
        }
    }

    /// Notes a path and its line.
    fn mention(&mut self, path: &[String], line: usize) {
        let Some(first) = path.first() else {
            return;
        };
        if path.len() > 1 {
            self.used.insert((self.module, first.clone()));
        }
        let taken = self.blocks.iter().rev().flatten();
        let taken = taken.filter(|taken| taken.name.as_ref() == Some(first));
        // The local meaning of the first name, and the rest of the path.
        let through = taken.map(|taken| [&taken.path, &path[1..]].concat());
        let Some(found) = through
            .filter(|through| through != path)
            .find_map(|through| self.modules.resolve(self.module, &through))
            .or_else(|| self.modules.resolve(self.module, path))
        else {
            return;
        };
        if let What::Item(file) = &found.what {
            self.imports.add(&self.file.path, line, file, &found.name);
        }
    }

    /// Notes a name that a `use` imports.
    fn take(&mut self, taken: &Use) {
        let Some(found) = self.modules.resolve(self.module, &taken.path) else {
            return;
        };
        if taken.is_public && self.is_own(&found) {
            return;
        }
        match &found.what {
            What::Item(file) => self
                .imports
                .add(&self.file.path, taken.line, file, &found.name),
            What::Module(_) => {
                self.waiting
                    .push((self.module, taken.name.clone(), found, taken.line))
            }
        }
    }

    /// True if the file belongs to the module that is being read.
    fn is_own(&self, found: &Found) -> bool {
        match &found.what {
            What::Module(module) => self.modules.is_within(*module, self.module),
            What::Item(file) => self.modules.is_part(file, self.module),
        }
    }

    fn mention_all(&mut self, paths: Vec<tokens::Path>) {
        for (path, line) in paths {
            self.mention(&path, line);
        }
    }

    fn include(&mut self, tokens: TokenStream) {
        let (file, sources, imports) = (self.file, self.sources, &mut *self.imports);
        tokens::texts(tokens, &mut |text, line| {
            let path = join(folder_of(&file.path), text);
            if is_source(&path) && sources.text(&path).is_some() {
                imports.add(&file.path, line, &path, "the text");
            }
        });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(of_item(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !is_test(of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        if !is_test(of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        if !is_test(of_statement(statement)) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, value: &'ast syn::FieldValue) {
        if !is_test(&value.attrs) {
            visit::visit_field_value(self, value);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let child = self
            .modules
            .module(self.module)
            .child_by_name
            .get(&plain(&item.ident));
        // A module in its own file is read separately, and tests are ignored.
        if let (Some(child), Some((_, items))) = (child, &item.content) {
            let (child, around) = (*child, self.module);
            let blocks = std::mem::take(&mut self.blocks);
            self.module = child;
            items.iter().for_each(|item| self.visit_item(item));
            (self.module, self.blocks) = (around, blocks);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let taken = block.stmts.iter().filter_map(|statement| match statement {
            syn::Stmt::Item(syn::Item::Use(item)) if !is_test(&item.attrs) => Some(uses(item)),
            _ => None,
        });
        self.blocks.push(taken.flatten().collect());
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for taken in uses(item) {
            self.take(&taken);
        }
    }

    /// `pub(in crate::a)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| plain(&segment.ident));
        let root = path.leading_colon.as_ref().map(|_| String::new());
        let names: Vec<String> = root.into_iter().chain(names).collect();
        let line = path
            .segments
            .first()
            .map_or(0, |segment| segment.ident.span().start().line);
        self.mention(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        let name = call
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string());
        if name.is_some_and(|name| INCLUDES.contains(&name.as_str())) {
            self.include(call.tokens.clone());
        }
        self.mention_all(tokens::paths(call.tokens.clone()));
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        match &attribute.meta {
            syn::Meta::List(list) if !attribute.path().is_ident("cfg") => {
                self.mention_all(tokens::paths_and_texts(list.tokens.clone()));
            }
            syn::Meta::Path(_) | syn::Meta::List(_) | syn::Meta::NameValue(_) => {}
        }
    }
}
