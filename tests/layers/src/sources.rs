//! Texts of the workspace by their path from its root, with `/` as separator. Vendored and built
//! files are left out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

/// The document with the order.
pub(crate) const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// The file that describes a package.
pub(crate) const MANIFEST: &str = "Cargo.toml";

/// Folders with vendored or built files.
const FOREIGN: [&str; 3] = ["target", "node_modules", "third_party"];

/// Texts of source files, by path.
#[derive(Debug, Default)]
pub struct Sources {
    text_by_path: BTreeMap<String, String>,
}

impl Sources {
    /// Reads sources and manifests below `root`, and its ARCHITECTURE.md.
    pub fn of_directory(root: &Path) -> anyhow::Result<Self> {
        let mut this = Self::default();
        this.add_folder(root, "")?;
        Ok(this)
    }

    fn add_folder(&mut self, root: &Path, folder: &str) -> anyhow::Result<()> {
        let shown = root.join(folder);
        let cannot = || format!("cannot read {}", shown.display());
        for entry in std::fs::read_dir(&shown).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = join(folder, &name);
            // A symbolic link may lead out of the workspace, or form a loop.
            let kind = entry.file_type().with_context(cannot)?;
            if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                self.add_folder(root, &path)?;
            } else if kind.is_file()
                && (is_source(&path) || name == MANIFEST || path == ARCHITECTURE)
            {
                let text = std::fs::read_to_string(entry.path())
                    .with_context(|| format!("cannot read {path}"))?;
                self.text_by_path.insert(path, text);
            }
        }
        Ok(())
    }

    /// The text at `path`.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.text_by_path.get(path).map(String::as_str)
    }

    /// All paths, in order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.text_by_path.keys().map(String::as_str)
    }
}

impl<P: Into<String>, T: Into<String>> FromIterator<(P, T)> for Sources {
    fn from_iter<I: IntoIterator<Item = (P, T)>>(texts: I) -> Self {
        let texts = texts
            .into_iter()
            .map(|(path, text)| (path.into(), text.into()));
        Self {
            text_by_path: texts.collect(),
        }
    }
}

/// True if the imports of this file are read.
pub(crate) fn is_source(path: &str) -> bool {
    path.ends_with(".rs") || is_javascript(path)
}

/// True for an ES module.
pub(crate) fn is_javascript(path: &str) -> bool {
    path.ends_with(".js") || path.ends_with(".mjs")
}

/// The folder of a file; empty for the root.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Resolves `path` relative to `folder`, without `.` and `..`.
pub(crate) fn join(folder: &str, path: &str) -> String {
    let mut names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

/// The first component of `path` below `folder`, without extension; `None` if it is not below.
pub(crate) fn name_in<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let below = match folder {
        "" => path,
        folder => path.strip_prefix(folder)?.strip_prefix('/')?,
    };
    let name = below.split('/').next()?;
    Some(match below.contains('/') {
        true => name,
        false => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
    })
}
