//! Packages as their Cargo.toml describes them: root files of crates, and dependencies on other
//! packages of the workspace.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use toml::Spanned;

use crate::import::Imports;
use crate::sources::{MANIFEST, Sources, folder_of, join};

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    manifest: String,
    /// Name of its library in code.
    library_name: String,
    /// Root file of its library.
    pub(crate) library: Option<String>,
    /// Root files of its other crates: programs, tests, benches, examples, the build script.
    pub(crate) others: BTreeSet<String>,
    dependencies: Vec<Dependency>,
}

/// A dependency on another package of the workspace.
#[derive(Debug)]
struct Dependency {
    manifest: String,
    line: usize,
    /// Name of the dependency in code of the dependent package, if it is renamed.
    alias: Option<String>,
    /// True for a dependency of tests only.
    is_dev: bool,
}

/// The parts of Cargo.toml that are needed here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    package: Option<About>,
    lib: Option<Target>,
    #[serde(default)]
    bin: Vec<Target>,
    #[serde(default)]
    test: Vec<Target>,
    #[serde(default)]
    bench: Vec<Target>,
    #[serde(default)]
    example: Vec<Target>,
    #[serde(default)]
    dependencies: Named,
    #[serde(default)]
    build_dependencies: Named,
    #[serde(default)]
    dev_dependencies: Named,
    /// Dependencies for certain platforms only.
    #[serde(default)]
    target: BTreeMap<String, Sections>,
    workspace: Option<Workspace>,
}

#[derive(Debug, Deserialize)]
struct About {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Workspace {
    #[serde(default)]
    dependencies: BTreeMap<String, Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sections {
    #[serde(default)]
    dependencies: Named,
    #[serde(default)]
    build_dependencies: Named,
    #[serde(default)]
    dev_dependencies: Named,
}

type Named = BTreeMap<String, Spanned<Detail>>;

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Detail {
    #[expect(dead_code, reason = "packages of registries are of no interest")]
    Version(String),
    Table {
        path: Option<String>,
        package: Option<String>,
        #[serde(default)]
        workspace: bool,
    },
}

impl Package {
    /// Root files of libraries, by the name that code of this package uses: its own library, and
    /// its dependencies.
    pub(crate) fn libraries(&self, packages: &[Package]) -> BTreeMap<String, String> {
        let own = self
            .library
            .iter()
            .map(|file| (self.library_name.clone(), file.clone()));
        let others = self.dependencies.iter().filter_map(|dependency| {
            let package = packages
                .iter()
                .find(|other| other.manifest == dependency.manifest)?;
            let name = dependency.alias.as_ref().unwrap_or(&package.library_name);
            Some((name.clone(), package.library.clone()?))
        });
        own.chain(others).collect()
    }
}

/// All packages of the workspace.
pub(crate) fn packages(sources: &Sources) -> anyhow::Result<Vec<Package>> {
    let mut manifests = Vec::new();
    for path in sources
        .paths()
        .filter(|path| path.rsplit('/').next() == Some(MANIFEST))
    {
        let text = sources
            .text(path)
            .expect("a path of the sources has a text");
        let manifest: Manifest = toml::from_str(text).with_context(|| path.to_owned())?;
        manifests.push((path, text, manifest));
    }
    let shared = manifests.iter().find(|(path, ..)| *path == MANIFEST);
    let shared = shared.and_then(|(.., manifest)| manifest.workspace.as_ref());
    let shared = shared.map_or_else(BTreeMap::new, |workspace| workspace.dependencies.clone());
    let packages = manifests.iter().filter_map(|(path, text, manifest)| {
        let name = &manifest.package.as_ref()?.name;
        let library = manifest.library(folder_of(path), sources);
        let library_name = manifest
            .lib
            .as_ref()
            .and_then(|lib| lib.name.as_ref())
            .unwrap_or(name);
        Some(Package {
            manifest: (*path).to_owned(),
            library_name: library_name.replace('-', "_"),
            others: manifest.others(folder_of(path), sources),
            library,
            dependencies: manifest.dependencies(folder_of(path), text, &shared),
        })
    });
    Ok(packages.collect())
}

/// Adds the dependencies of packages, as imports between manifests.
pub(crate) fn dependencies(packages: &[Package], imports: &mut Imports) {
    let is_there = |manifest: &String| packages.iter().any(|package| package.manifest == *manifest);
    for package in packages {
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| !dependency.is_dev)
        {
            let (manifest, name) = (&dependency.manifest, folder_of(&dependency.manifest));
            if is_there(manifest) {
                imports.add(&package.manifest, dependency.line, manifest, name);
            }
        }
    }
}

impl Manifest {
    fn library(&self, folder: &str, sources: &Sources) -> Option<String> {
        let path = self.lib.as_ref().and_then(|lib| lib.path.as_deref());
        let path = join(folder, path.unwrap_or("src/lib.rs"));
        sources.text(&path).is_some().then_some(path)
    }

    fn others(&self, folder: &str, sources: &Sources) -> BTreeSet<String> {
        let stated = self
            .bin
            .iter()
            .chain(&self.test)
            .chain(&self.bench)
            .chain(&self.example);
        let stated = stated.filter_map(|target| Some(join(folder, target.path.as_deref()?)));
        let found = sources.paths().filter(|path| {
            let below = match folder {
                "" => Some(*path),
                folder => path
                    .strip_prefix(folder)
                    .and_then(|path| path.strip_prefix('/')),
            };
            below.is_some_and(begins_a_crate)
        });
        let found = found.map(str::to_owned);
        stated
            .chain(found)
            .filter(|path| sources.text(path).is_some())
            .collect()
    }

    fn dependencies(
        &self,
        folder: &str,
        text: &str,
        shared: &BTreeMap<String, Detail>,
    ) -> Vec<Dependency> {
        let mut found = Vec::new();
        let own = [
            (&self.dependencies, false),
            (&self.build_dependencies, false),
            (&self.dev_dependencies, true),
        ];
        let of_platforms = self.target.values().flat_map(|target| {
            [
                (&target.dependencies, false),
                (&target.build_dependencies, false),
                (&target.dev_dependencies, true),
            ]
        });
        for (section, is_dev) in own.into_iter().chain(of_platforms) {
            for (key, detail) in section {
                let line = 1 + text[..detail.span().start].matches('\n').count();
                let Some((manifest, alias)) = locate(key, detail.get_ref(), folder, shared) else {
                    continue;
                };
                found.push(Dependency {
                    manifest,
                    line,
                    alias,
                    is_dev,
                });
            }
        }
        found
    }
}

/// The manifest of a dependency, and its name in code if it is renamed.
fn locate(
    key: &str,
    detail: &Detail,
    folder: &str,
    shared: &BTreeMap<String, Detail>,
) -> Option<(String, Option<String>)> {
    match detail {
        Detail::Table {
            workspace: true, ..
        } => match shared.get(key)? {
            // A second such line would be a loop.
            Detail::Table {
                workspace: true, ..
            } => None,
            detail => locate(key, detail, "", shared),
        },
        Detail::Table {
            path: Some(path),
            package,
            workspace: false,
        } => {
            let alias = package.is_some().then(|| key.replace('-', "_"));
            Some((join(&join(folder, path), MANIFEST), alias))
        }
        Detail::Table { path: None, .. } | Detail::Version(_) => None,
    }
}

/// True if Cargo finds a crate root here by itself, except the library.
fn begins_a_crate(path: &str) -> bool {
    let names: Vec<&str> = path.split('/').collect();
    match names[..] {
        ["build.rs"] | ["src", "main.rs"] => true,
        ["src", "bin", file] | ["tests" | "benches" | "examples", file] => file.ends_with(".rs"),
        ["src", "bin", _, file] | ["tests" | "benches" | "examples", _, file] => file == "main.rs",
        _ => false,
    }
}
