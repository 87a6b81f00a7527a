//! `spillway-sim`: runs seeds, shrinks those that fail, and prints one JSON line at the end.

#[cfg(feature = "mutants")]
mod hunt; // looks for planted bugs

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use spillway_sim::coverage::{Coverage, State};
use spillway_sim::network::Counts;
use spillway_sim::rng::Seed;
use spillway_sim::runs::{Run, run_all};
use spillway_sim::schedule::Schedule;
use spillway_sim::world::{Outcome, POSSIBLE, Size, World, draw};

/// Runs a fleet in virtual time under faults, and checks invariants.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Number of seeds to run.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// Number of the first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Also runs the seeds that have found something before.
    #[arg(long)]
    kept: bool,
    /// Virtual seconds until everybody leaves.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs the first seed with the faults in this file, one a line.
    #[arg(long)]
    schedule: Option<PathBuf>,
    /// Writes into this file what servers, nodes and people said in the run of the first seed.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Runs each seed twice and compares the hashes.
    #[arg(long)]
    twice: bool,
    /// Runs that shrinking one failed seed may take.
    #[arg(long, default_value_t = 60)]
    shrink: usize,
    /// Plants one bug after the other, and looks for the seed that finds it.
    #[arg(long)]
    mutants: bool,
    /// With `--mutants`: only this bug.
    #[arg(long)]
    mutant: Option<String>,
}

/// The last line of the output.
#[derive(Debug, Default, Serialize)]
struct Summary {
    suite: &'static str,
    seeds: u64,
    violations: usize,
    different_hashes: u64,
    virtual_seconds: u64,
    cpu_seconds: f64,
    cpu_per_virtual_second: f64,
    frames: u64,
    faults: BTreeMap<&'static str, u64>,
    holes: usize,
    pairs: usize,
}

/// Seeds that have found something, with a sentence each.
const KEPT: &str = include_str!("../kept-seeds.tsv");
/// Most processor seconds of a virtual second in which people are in the rooms.
const MAX_CPU_PER_SECOND: f64 = 0.08;
/// Failed seeds that are shrunk.
const MAX_SHRUNK: usize = 3;

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let size = Size {
        lasts: Duration::from_secs(options.seconds),
        ..Size::default()
    };
    if options.mutants {
        return hunt(&options, size);
    }
    if options.schedule.is_some() || options.log.is_some() {
        return run_one(&options, size);
    }
    let mut seeds: Vec<Seed> = (options.from..options.from + options.seeds)
        .map(Seed)
        .collect();
    if options.kept {
        let kept = kept()?;
        seeds.extend(
            kept.into_iter()
                .filter(|seed| !seeds.contains(seed))
                .collect::<Vec<_>>(),
        );
    }
    let times = if options.twice { 2 } else { 1 };
    let runs = run_all(&seeds, size, times)?;
    let summary = report(&runs, size);
    for run in runs.iter().filter(|run| is_bad(run)).take(MAX_SHRUNK) {
        explain(run, size, options.shrink)?;
    }
    println!("{}", serde_json::to_string(&summary)?);
    let is_good = summary.violations == 0
        && summary.different_hashes == 0
        && summary.cpu_per_virtual_second <= MAX_CPU_PER_SECOND;
    Ok(exit_code(is_good))
}

#[cfg(feature = "mutants")]
fn hunt(options: &Options, size: Size) -> anyhow::Result<ExitCode> {
    let seeds = options.from..options.from + options.seeds;
    Ok(exit_code(hunt::hunt(
        seeds,
        size,
        options.mutant.as_deref(),
    )?))
}

#[cfg(not(feature = "mutants"))]
fn hunt(options: &Options, _size: Size) -> anyhow::Result<ExitCode> {
    let which = options.mutant.as_deref().unwrap_or("all");
    anyhow::bail!(
        "cannot plant {which}: this program has no planted bugs; build it with --features mutants"
    );
}

/// Runs one seed, with a log or with given faults.
fn run_one(options: &Options, size: Size) -> anyhow::Result<ExitCode> {
    let seed = Seed(options.from);
    let schedule = match &options.schedule {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Schedule::from_text(&text)?
        }
        None => draw(seed, size.lasts),
    };
    let mut world = World::new(seed, size, &schedule)?;
    if options.log.is_some() {
        world = world.with_log();
    }
    let outcome = world.run();
    if let Some(path) = &options.log {
        write(path, &outcome.log.join("\n"))?;
    }
    println!("seed {}: {}", seed.0, outcome.digest);
    for violation in &outcome.violations {
        println!("  {violation}");
    }
    Ok(exit_code(outcome.violations.is_empty()))
}

fn kept() -> anyhow::Result<Vec<Seed>> {
    let number = |line: &str| {
        let first = line.split('\t').next().unwrap_or_default();
        let number = first
            .parse()
            .with_context(|| format!("kept-seeds.tsv: {line}"))?;
        Ok(Seed(number))
    };
    KEPT.lines().map(number).collect()
}

fn is_bad(run: &Run) -> bool {
    run.outcomes
        .iter()
        .any(|outcome| !outcome.violations.is_empty())
}

/// Prints all runs and the table of faults and states.
fn report(runs: &[Run], size: Size) -> Summary {
    let mut summary = Summary {
        suite: "sim",
        seeds: runs.len() as u64,
        ..Summary::default()
    };
    let (mut coverage, mut network) = (Coverage::default(), Counts::default());
    for run in runs {
        for fault in run.schedule.faults() {
            *summary.faults.entry(fault.kind.label()).or_default() += 1;
        }
        summary.virtual_seconds += size.lasts.as_secs() * run.outcomes.len() as u64;
        summary.cpu_seconds += run.cpu_seconds;
        let Some(first) = run.outcomes.first() else {
            continue;
        };
        println!("seed {}: {}", run.seed.0, first.digest);
        summary.frames += first.frames;
        summary.violations += first.violations.len();
        coverage.add(&first.coverage);
        network.add(&first.network);
        let mut others = run.outcomes.iter().skip(1);
        if let Some(other) = others.find(|other| other.digest != first.digest) {
            summary.different_hashes += 1;
            println!("seed {}: {} the second time", run.seed.0, other.digest);
        }
    }
    summary.faults.extend(network.faults());
    summary.cpu_per_virtual_second = summary.cpu_seconds / summary.virtual_seconds.max(1) as f64;
    summary.holes = coverage.holes(&POSSIBLE).count();
    summary.pairs = POSSIBLE.len() * State::ALL.len();
    print!("{coverage}");
    let holes = coverage.holes(&POSSIBLE);
    let holes: Vec<_> = holes
        .map(|(fault, state)| format!("{} with {}", fault.label(), state.label()))
        .collect();
    println!(
        "never met, {} of {}: {}",
        summary.holes,
        summary.pairs,
        holes.join(", ")
    );
    summary
}

/// Prints what failed, and a short schedule that still fails in the same invariant.
fn explain(run: &Run, size: Size, max_runs: usize) -> anyhow::Result<()> {
    let seed = run.seed;
    println!("seed {} failed:", seed.0);
    let violations = run
        .outcomes
        .iter()
        .flat_map(|outcome: &Outcome| &outcome.violations);
    for violation in violations.clone() {
        println!("  {violation}");
    }
    let Some(first) = violations.clone().next() else {
        return Ok(());
    };
    let shrunk = run.schedule.shrink(max_runs, |shorter| {
        // A world that cannot start fails in another way.
        let world = World::new(seed, size, shorter);
        world.is_ok_and(|world| {
            let outcome = world.run();
            let mut invariants = outcome.violations.iter().map(|one| one.invariant);
            invariants.any(|invariant| invariant == first.invariant)
        })
    });
    let path = std::env::temp_dir().join(format!("spillway-sim-{}.faults", seed.0));
    write(&path, &Schedule::new(shrunk.items.clone()).to_text())?;
    let (left, seconds) = (shrunk.items.len(), size.lasts.as_secs());
    println!(
        "  {left} faults are enough, after {} runs; repeat with:",
        shrunk.runs
    );
    println!(
        "  spillway-sim --from {} --seconds {seconds} --schedule {} --log {}",
        seed.0,
        path.display(),
        path.with_extension("log").display()
    );
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
