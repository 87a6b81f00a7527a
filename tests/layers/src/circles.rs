//! Finds cycles of imports. For each group of files that import each other it reports the shortest
//! cycle with the imported names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::import::Imports;

/// The imports of one file from another: the first line, and all names.
#[derive(Debug, Default)]
struct Edge<'a> {
    line: usize,
    names: Vec<&'a str>,
}

type Edges<'a> = BTreeMap<(&'a str, &'a str), Edge<'a>>;

/// A line of text for each group.
pub(crate) fn findings(imports: &Imports) -> Vec<String> {
    let mut edges = Edges::new();
    for (import, line) in imports.iter() {
        let edge = edges.entry((&import.from, &import.to)).or_default();
        edge.line = if edge.line == 0 {
            line
        } else {
            edge.line.min(line)
        };
        edge.names.push(&import.name);
    }
    let graph: DiGraphMap<&str, ()> = edges.keys().copied().collect();
    let groups = tarjan_scc(&graph)
        .into_iter()
        .filter(|group| group.len() > 1);
    let mut groups: Vec<BTreeSet<&str>> = groups.map(|group| group.into_iter().collect()).collect();
    groups.sort();
    groups
        .iter()
        .map(|group| shown(group, &graph, &edges))
        .collect()
}

fn shown(group: &BTreeSet<&str>, graph: &DiGraphMap<&str, ()>, edges: &Edges<'_>) -> String {
    let shortest = group
        .iter()
        .filter_map(|file| shortest_cycle(file, group, graph));
    let shortest = shortest
        .min_by_key(Vec::len)
        .expect("a group has a way round");
    let mut hops = Vec::new();
    for (at, from) in shortest.iter().enumerate() {
        let to = shortest[(at + 1) % shortest.len()];
        let edge = &edges[&(*from, to)];
        hops.push(format!(
            "{from}:{} imports {} of {to}",
            edge.line,
            edge.names.join(", ")
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
    let first = &edges[&(shortest[0], shortest[1 % shortest.len()])];
    format!(
        "{}:{}: a circle of {} files: {}{others}",
        shortest[0],
        first.line,
        group.len(),
        hops.join("; ")
    )
}

/// The shortest path from `start` back to itself, within its group.
fn shortest_cycle<'a>(
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
