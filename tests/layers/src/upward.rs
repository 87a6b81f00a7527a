//! Finds imports against the order, and names that a folder's line lacks or that do not exist.

use std::collections::{BTreeMap, BTreeSet};

use crate::import::Imports;
use crate::order::{Folder, Order};
use crate::sources::{ARCHITECTURE, name_in};

/// A line of text for each finding.
pub(crate) fn findings(order: &Order, files: &BTreeSet<String>, imports: &Imports) -> Vec<String> {
    let mut findings = Vec::new();
    for folder in &order.folders {
        findings.extend(names(folder, files));
        let broken = imports.iter().filter_map(|(import, line)| {
            Some((import, line, broken(folder, &import.from, &import.to)?))
        });
        let mut broken: Vec<_> = broken.collect();
        broken.sort_by_key(|(import, line, _)| (&import.from, *line));
        findings.extend(broken.iter().map(|(import, line, rule)| {
            let (from, to, name) = (&import.from, &import.to, &import.name);
            format!("{from}:{line}: imports {name} of {to}: {rule}")
        }));
    }
    findings
}

/// Names without a level, each with a file, and levels without a file.
fn names(folder: &Folder, files: &BTreeSet<String>) -> Vec<String> {
    let mut file_by_name = BTreeMap::new();
    for file in files {
        if let Some(name) = name_in(&folder.path, file) {
            file_by_name.entry(name).or_insert(file);
        }
    }
    let nameless = file_by_name
        .iter()
        .filter(|(name, _)| folder.level(name).is_none());
    let nameless = nameless.map(|(name, file)| {
        let shown = folder.shown();
        format!(
            "{file}:1: {name} has no place in the layers of {shown} ({ARCHITECTURE}:{})",
            folder.line
        )
    });
    let vain = folder
        .names()
        .filter(|name| !file_by_name.contains_key(name))
        .map(|name| {
            let shown = folder.shown();
            format!(
                "{ARCHITECTURE}:{}: {shown} has no {name} with sources",
                folder.line
            )
        });
    nameless.chain(vain).collect()
}

/// The rule that an import between two files violates, as text.
fn broken(folder: &Folder, from: &str, to: &str) -> Option<String> {
    let (above, below) = (name_in(&folder.path, from)?, name_in(&folder.path, to)?);
    if above == below {
        return None;
    }
    // A name without a level is reported separately.
    let (level_above, level_below) = (folder.level(above)?, folder.level(below)?);
    let shown = folder.shown();
    match level_above.cmp(&level_below) {
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Equal => Some(format!(
            "in {shown}, {above} and {below} know nothing of each other"
        )),
        std::cmp::Ordering::Less => Some(format!("in {shown}, {above} < {below}")),
    }
}
