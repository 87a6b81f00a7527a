//! Plants one bug after the other, and runs seeds until an invariant finds it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use serde::Serialize;
use spillway_mutants::{Mutant, plant};
use spillway_sim::rng::Seed;
use spillway_sim::world::{Size, World, draw};

/// What became of a planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// An invariant found it, with this seed.
    Found(u64, String),
    /// The run panicked with this seed: no invariant found it.
    Panicked(u64),
    /// No seed found it.
    Missed,
}

/// The last line of the output.
#[derive(Debug, Serialize)]
struct Summary {
    suite: &'static str,
    mutants: usize,
    found: usize,
    panicked: usize,
    missed: Vec<&'static str>,
    seeds: u64,
    /// The largest number of seeds that a bug took.
    most_seeds: u64,
}

/// Looks for all planted bugs, or for the one with the name `only`. True if an invariant found each.
pub(crate) fn hunt(seeds: Range<u64>, size: Size, only: Option<&str>) -> anyhow::Result<bool> {
    let all = Mutant::ALL.iter().copied();
    let wanted: Vec<_> = all
        .filter(|(_, label)| only.is_none_or(|only| only == *label))
        .collect();
    let names: Vec<_> = Mutant::ALL.iter().map(|(_, label)| *label).collect();
    let named = only.unwrap_or_default();
    anyhow::ensure!(
        !wanted.is_empty(),
        "there is no planted bug '{named}'; there are: {}",
        names.join(", ")
    );
    let next = AtomicUsize::new(0);
    let fates = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((mutant, label)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fate = look_for(*mutant, seeds.clone(), size);
                    println!("{label}: {fate:?}");
                    fates
                        .lock()
                        .expect("no thread panicked")
                        .push((*label, fate));
                }
            });
        }
    });
    let fates = fates.into_inner().expect("no thread panicked");
    let with = |is: fn(&Fate) -> bool| fates.iter().filter(move |(_, fate)| is(fate));
    let taken = |fate: &Fate| match fate {
        Fate::Found(seed, _) | Fate::Panicked(seed) => seed - seeds.start + 1,
        Fate::Missed => 0,
    };
    let summary = Summary {
        suite: "sim-mutants",
        mutants: wanted.len(),
        found: with(|fate| matches!(fate, Fate::Found(..))).count(),
        panicked: with(|fate| matches!(fate, Fate::Panicked(_))).count(),
        missed: with(|fate| *fate == Fate::Missed)
            .map(|(label, _)| *label)
            .collect(),
        seeds: seeds.end - seeds.start,
        most_seeds: fates.iter().map(|(_, fate)| taken(fate)).max().unwrap_or(0),
    };
    let line = serde_json::to_string(&summary).context("the summary is plain data")?;
    println!("{line}");
    Ok(summary.found == summary.mutants)
}

/// Runs seeds with `mutant` until one fails that does not fail without it.
fn look_for(mutant: Mutant, seeds: Range<u64>, size: Size) -> Fate {
    for number in seeds {
        let fate = run_with(Some(mutant), number, size);
        if fate != Fate::Missed && run_with(None, number, size) == Fate::Missed {
            return fate;
        }
    }
    Fate::Missed
}

/// Runs one seed with a bug, or without.
fn run_with(mutant: Option<Mutant>, number: u64, size: Size) -> Fate {
    plant(mutant);
    let seed = Seed(number);
    let run = || World::new(seed, size, &draw(seed, size.lasts)).map(World::run);
    let result = catch_unwind(AssertUnwindSafe(run));
    plant(None);
    match result {
        Err(_) | Ok(Err(_)) => Fate::Panicked(number), // or a world that does not start
        Ok(Ok(outcome)) => match outcome.violations.first() {
            Some(first) => Fate::Found(number, first.to_string()),
            None => Fate::Missed,
        },
    }
}
