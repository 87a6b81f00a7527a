//! Cycles of imports: the shortest cycle of each group, with its imported names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::import::Imports;

/// What ties one file to another: the first line and all names.
#[derive(Debug, Default)]
struct Tie<'a> {
    line: usize,
    names: Vec<&'a str>,
}

type Ties<'a> = BTreeMap<(&'a str, &'a str), Tie<'a>>;

/// A line for each group.
pub(crate) fn findings(imports: &Imports) -> Vec<String> {
    let mut ties = Ties::new();
    for (import, line) in imports.iter() {
        let tie = ties.entry((&import.from, &import.to)).or_default();
        tie.line = if tie.line == 0 {
            line
        } else {
            tie.line.min(line)
        };
        tie.names.push(&import.name);
    }
    let graph: DiGraphMap<&str, ()> = ties.keys().copied().collect();
    let groups = tarjan_scc(&graph)
        .into_iter()
        .filter(|group| group.len() > 1);
    let mut groups: Vec<BTreeSet<&str>> = groups.map(|group| group.into_iter().collect()).collect();
    groups.sort();
    groups
        .iter()
        .map(|group| shown(group, &graph, &ties))
        .collect()
}

fn shown(group: &BTreeSet<&str>, graph: &DiGraphMap<&str, ()>, ties: &Ties<'_>) -> String {
    let shortest = group
        .iter()
        .filter_map(|file| way_round(file, group, graph));
    let shortest = shortest
        .min_by_key(Vec::len)
        .expect("a group has a way round");
    let mut hops = Vec::new();
    for (at, from) in shortest.iter().enumerate() {
        let to = shortest[(at + 1) % shortest.len()];
        let tie = &ties[&(*from, to)];
        hops.push(format!(
            "{from}:{} imports {} of {to}",
            tie.line,
            tie.names.join(", ")
        ));
    }
    let others: Vec<&str> = group
        .iter()
        .filter(|file| !shortest.contains(file))
        .copied()
        .collect();
    let others = match others.len() {
        0 => String::new(),
        count => format!(" (and {count} more: {})", others.join(", ")),
    };
    let first = &ties[&(shortest[0], shortest[1 % shortest.len()])];
    format!(
        "{}:{}: a circle of {} files: {}{others}",
        shortest[0],
        first.line,
        group.len(),
        hops.join("; ")
    )
}

/// The shortest way from `start` back to it, within its group.
fn way_round<'a>(
    start: &'a str,
    group: &BTreeSet<&'a str>,
    graph: &DiGraphMap<&'a str, ()>,
) -> Option<Vec<&'a str>> {
    let mut came_from = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for next in graph.neighbors(file).filter(|next| group.contains(next)) {
            if next == start {
                let mut way = vec![file];
                while let Some(before) = came_from.get(way[way.len() - 1]) {
                    way.push(*before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, file);
                waiting.push_back(next);
            }
        }
    }
    None
}
