//! Files of modules, and the names in each: children, definitions, and imports.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

use super::exempt::{is_test, of_item};
use crate::manifest::Package;
use crate::sources::{Sources, folder_of, join};

/// Modules with this name are tests, with or without a guard.
const TESTS: &str = "tests";

/// An index into [`Modules::modules`], valid for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ModuleId(usize);

/// All modules of all crates.
pub(super) struct Modules {
    modules: Vec<Module>,
    /// Parsed files, in the order of reading.
    pub(super) files: Vec<File>,
    /// Root modules of libraries, by file.
    library_by_file: BTreeMap<String, ModuleId>,
    /// For each package, root files of libraries by the name that its code uses.
    libraries: Vec<BTreeMap<String, String>>,
}

/// A file that is a module.
pub(super) struct File {
    pub(super) path: String,
    pub(super) module: ModuleId,
    pub(super) syntax: Rc<syn::File>,
    /// Files elsewhere that it declares as modules (`#[path]`), by line.
    pub(super) elsewhere: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(super) struct Module {
    /// The file that has the module.
    pub(super) file: String,
    pub(super) parent: Option<ModuleId>,
    root: ModuleId,
    /// Index of its package.
    package: usize,
    pub(super) child_by_name: BTreeMap<String, ModuleId>,
    /// The defining file of each name; exported macros are defined in other files.
    pub(super) file_by_item: BTreeMap<String, String>,
    pub(super) uses: Vec<Use>,
}

/// One name imported by `use`.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// Its local name; `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) path: Vec<String>,
    /// True for `pub use`.
    pub(super) is_public: bool,
    pub(super) line: usize,
}

/// Where child modules of a file, or of an inline module, are looked for.
#[derive(Clone)]
struct SearchFolder {
    /// Folder of the file, which `#[path]` is relative to.
    folder: String,
    /// Folder of the child modules.
    children: String,
}

impl Modules {
    pub(super) fn of(sources: &Sources, packages: &[Package]) -> anyhow::Result<Self> {
        let libraries = packages.iter().map(|package| package.libraries(packages));
        let mut this = Self {
            modules: Vec::new(),
            files: Vec::new(),
            library_by_file: BTreeMap::new(),
            libraries: libraries.collect(),
        };
        for (at, package) in packages.iter().enumerate() {
            for file in package.library.iter().chain(&package.others) {
                let root = this.add_module(file, None, at);
                this.read_file(sources, file, root, folder_of(file))?;
                if package.library.as_ref() == Some(file) {
                    this.library_by_file.insert(file.clone(), root);
                }
            }
        }
        Ok(this)
    }

    pub(super) fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// The root module of the crate of `id`.
    pub(super) fn root(&self, id: ModuleId) -> ModuleId {
        self.module(id).root
    }

    /// The library that code of module `id` calls `name`.
    pub(super) fn library(&self, id: ModuleId, name: &str) -> Option<ModuleId> {
        let file = self.libraries[self.module(id).package].get(name)?;
        self.library_by_file.get(file).copied()
    }

    /// True if `id` is `above` or one of its descendants.
    pub(super) fn is_within(&self, id: ModuleId, above: ModuleId) -> bool {
        std::iter::successors(Some(id), |id| self.module(*id).parent).any(|id| id == above)
    }

    /// True if the file belongs to `above` or one of its descendants.
    pub(super) fn is_part(&self, file: &str, above: ModuleId) -> bool {
        let mut files = self.files.iter().filter(|other| other.path == file);
        files.any(|file| self.is_within(file.module, above))
    }

    fn add_module(&mut self, file: &str, parent: Option<ModuleId>, package: usize) -> ModuleId {
        let id = ModuleId(self.modules.len());
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            root: parent.map_or(id, |parent| self.root(parent)),
            package,
            child_by_name: BTreeMap::new(),
            file_by_item: BTreeMap::new(),
            uses: Vec::new(),
        });
        id
    }

    /// Reads the file of module `id`, whose child modules are in `children`.
    fn read_file(
        &mut self,
        sources: &Sources,
        path: &str,
        id: ModuleId,
        children: &str,
    ) -> anyhow::Result<()> {
        let text = sources
            .text(path)
            .with_context(|| format!("{path} is missing"))?;
        let parsed = self.files.iter().find(|file| file.path == path);
        let syntax = match parsed {
            Some(file) => Rc::clone(&file.syntax),
            None => {
                let parsed = syn::parse_file(text);
                let at = |error: &syn::Error| format!("{path}:{}", error.span().start().line);
                Rc::new(parsed.map_err(|error| anyhow::anyhow!("{}: {error}", at(&error)))?)
            }
        };
        if is_test(&syntax.attrs) {
            return Ok(());
        }
        let search = SearchFolder {
            folder: folder_of(path).to_owned(),
            children: children.to_owned(),
        };
        let number = self.files.len();
        self.files.push(File {
            path: path.to_owned(),
            module: id,
            syntax: Rc::clone(&syntax),
            elsewhere: Vec::new(),
        });
        self.read_items(sources, &syntax.items, id, &search, number)
    }

    fn read_items(
        &mut self,
        sources: &Sources,
        items: &[Item],
        id: ModuleId,
        search: &SearchFolder,
        file: usize,
    ) -> anyhow::Result<()> {
        for item in items.iter().filter(|item| !is_test(of_item(item))) {
            match item {
                Item::Mod(item) => self.read_module(sources, item, id, search, file)?,
                Item::Use(item) => self.modules[id.0].uses.extend(uses(item)),
                Item::Macro(item) => {
                    if let Some(name) = &item.ident {
                        let is_exported = item
                            .attrs
                            .iter()
                            .any(|it| it.path().is_ident("macro_export"));
                        let of = if is_exported { self.root(id) } else { id };
                        self.define(of, &name.to_string(), id);
                    }
                }
                item => {
                    if let Some(name) = name_of(item) {
                        self.define(id, &name.to_string(), id);
                    }
                }
            }
        }
        Ok(())
    }

    fn define(&mut self, of: ModuleId, name: &str, at: ModuleId) {
        let file = self.module(at).file.clone();
        self.modules[of.0]
            .file_by_item
            .insert(name.to_owned(), file);
    }

    fn read_module(
        &mut self,
        sources: &Sources,
        item: &ItemMod,
        parent: ModuleId,
        search: &SearchFolder,
        file: usize,
    ) -> anyhow::Result<()> {
        let name = plain(&item.ident);
        if name == TESTS {
            return Ok(());
        }
        let package = self.module(parent).package;
        let known = self.module(parent).child_by_name.get(&name).copied();
        if let Some((_, items)) = &item.content {
            let own = self.module(parent).file.clone();
            // If there are several with one name, as for platforms, a path may mean any of them.
            let id = known.unwrap_or_else(|| self.add_module(&own, Some(parent), package));
            self.modules[parent.0]
                .child_by_name
                .insert(name.clone(), id);
            let within = join(
                &search.children,
                path_of(&item.attrs).as_deref().unwrap_or(&name),
            );
            let search = SearchFolder {
                folder: within.clone(),
                children: within,
            };
            return self.read_items(sources, items, id, &search, file);
        }
        let (path, children) = match path_of(&item.attrs) {
            Some(path) => {
                let path = join(&search.folder, &path);
                let children = folder_of(&path).to_owned();
                if !format!("{path}/").starts_with(&format!("{}/", search.folder)) {
                    let line = item.ident.span().start().line;
                    self.files[file].elsewhere.push((line, path.clone()));
                }
                (path, children)
            }
            None => {
                let children = join(&search.children, &name);
                let (flat, nested) = (format!("{children}.rs"), format!("{children}/mod.rs"));
                let path = if sources.text(&flat).is_some() {
                    flat
                } else {
                    nested
                };
                (path, children)
            }
        };
        let own = &self.module(parent).file;
        if sources.text(&path).is_none() {
            let line = item.ident.span().start().line;
            bail!("{own}:{line}: there is no file for module {name}: {path}");
        }
        let id = self.add_module(&path, Some(parent), package);
        self.modules[parent.0]
            .child_by_name
            .entry(name)
            .or_insert(id);
        self.read_file(sources, &path, id, &children)
    }
}

/// The path in the attribute `#[path]`.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let value = &attribute.meta.require_name_value().ok()?.value;
        let syn::Expr::Lit(literal) = value else {
            return None;
        };
        match &literal.lit {
            syn::Lit::Str(text) if attribute.path().is_ident("path") => Some(text.value()),
            _ => None,
        }
    })
}

/// The name that an item defines.
fn name_of(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// The names that a `use` imports.
pub(super) fn uses(item: &ItemUse) -> Vec<Use> {
    let is_public = !matches!(item.vis, Visibility::Inherited);
    let mut path = Vec::new();
    if item.leading_colon.is_some() {
        path.push(String::new());
    }
    let mut found = Vec::new();
    leaves(&item.tree, &mut path, is_public, &mut found);
    found
}

fn leaves(tree: &UseTree, path: &mut Vec<String>, is_public: bool, found: &mut Vec<Use>) {
    let mut leaf = |name: Option<String>, last: Option<String>, line| {
        let mut path = path.clone();
        path.extend(last);
        found.push(Use {
            name,
            path,
            is_public,
            line,
        });
    };
    match tree {
        UseTree::Path(tree) => {
            path.push(plain(&tree.ident));
            leaves(&tree.tree, path, is_public, found);
            path.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, path, is_public, found);
            }
        }
        UseTree::Glob(glob) => leaf(None, None, glob.star_token.spans[0].start().line),
        UseTree::Name(tree) => {
            let (name, line) = (plain(&tree.ident), tree.ident.span().start().line);
            match path.last() {
                // `a::{self}` imports `a`.
                Some(last) if name == "self" => leaf(Some(last.clone()), None, line),
                _ => leaf(Some(name.clone()), Some(name), line),
            }
        }
        UseTree::Rename(tree) => {
            let (name, line) = (plain(&tree.ident), tree.ident.span().start().line);
            let last = (name != "self" || path.is_empty()).then_some(name);
            leaf(Some(plain(&tree.rename)), last, line);
        }
    }
}

/// An identifier without `r#`.
pub(super) fn plain(name: &syn::Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}
