//! `spillway-sim`: runs seeds, shrinks those that fail, and prints one JSON line at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use spillway_sim::coverage::{Coverage, State};
use spillway_sim::network::Counts;
use spillway_sim::rng::Seed;
use spillway_sim::schedule::Schedule;
use spillway_sim::world::{Outcome, POSSIBLE, Size, World, draw};

/// Runs a fleet in virtual time under faults, and checks invariants.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Number of seeds.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Virtual seconds of each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// File with the faults of the run, one a line, instead of those that are drawn from the seed.
    #[arg(long)]
    schedule: Option<PathBuf>,
    /// Runs each seed twice and compares the hashes.
    #[arg(long)]
    twice: bool,
    /// Writes a log of everything that servers, nodes and people said into this file; of the last seed.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Runs that shrinking one failed seed may take.
    #[arg(long, default_value_t = 60)]
    shrink: usize,
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
    frames: u64,
    faults: BTreeMap<&'static str, u64>,
    holes: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let size = Size {
        lasts: Duration::from_secs(options.seconds),
        ..Size::default()
    };
    let given = match &options.schedule {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Some(Schedule::from_text(&text)?)
        }
        None => None,
    };
    let mut summary = Summary {
        suite: "sim",
        ..Summary::default()
    };
    let (mut coverage, mut network) = (Coverage::default(), Counts::default());
    for number in options.from..options.from + options.seeds {
        let seed = Seed(number);
        let schedule = match &given {
            Some(given) => given.clone(),
            None => draw(seed, size.lasts),
        };
        for fault in schedule.faults() {
            *summary.faults.entry(fault.kind.label()).or_default() += 1;
        }
        let mut world = World::new(seed, size, &schedule)?;
        if options.log.is_some() {
            world = world.with_log();
        }
        let outcome = world.run();
        if let Some(path) = &options.log {
            std::fs::write(path, outcome.log.join("\n"))?;
        }
        summary.seeds += 1;
        summary.virtual_seconds += size.virtual_time().as_secs();
        summary.frames += outcome.frames;
        summary.violations += outcome.violations.len();
        coverage.add(&outcome.coverage);
        network.add(&outcome.network);
        println!("seed {number}: {}", outcome.digest);
        if options.twice {
            let again = run(seed, size, &schedule)?.digest;
            summary.virtual_seconds += size.virtual_time().as_secs();
            if again != outcome.digest {
                summary.different_hashes += 1;
                println!("seed {number}: {again} the second time");
            }
        }
        if !outcome.violations.is_empty() {
            explain(seed, size, &schedule, &outcome, options.shrink)?;
        }
    }
    for (what, count) in network.faults() {
        summary.faults.insert(what, count);
    }
    summary.cpu_seconds = cpu_seconds()?;
    summary.holes = coverage.holes(&POSSIBLE).count();
    print!("{coverage}");
    let pairs = POSSIBLE.len() * State::ALL.len();
    println!("{} of {pairs} pairs were never met", summary.holes);
    println!("{}", serde_json::to_string(&summary)?);
    let is_good = summary.violations == 0 && summary.different_hashes == 0;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(seed: Seed, size: Size, schedule: &Schedule) -> anyhow::Result<Outcome> {
    Ok(World::new(seed, size, schedule)?.run())
}

/// Prints what failed, and a short schedule that still fails in the same invariant.
fn explain(
    seed: Seed,
    size: Size,
    schedule: &Schedule,
    outcome: &Outcome,
    max_runs: usize,
) -> anyhow::Result<()> {
    for violation in &outcome.violations {
        println!("  {violation}");
    }
    let Some(first) = outcome.violations.first() else {
        return Ok(());
    };
    let shrunk = schedule.shrink(max_runs, |shorter| {
        // A world that cannot start fails in another way.
        run(seed, size, shorter).is_ok_and(|outcome| {
            let mut invariants = outcome.violations.iter().map(|one| one.invariant);
            invariants.any(|invariant| invariant == first.invariant)
        })
    });
    let path = std::env::temp_dir().join(format!("spillway-sim-{}.faults", seed.0));
    std::fs::write(&path, Schedule::new(shrunk.items.clone()).to_text())?;
    let (left, seconds) = (shrunk.items.len(), size.lasts.as_secs());
    println!(
        "  {left} faults are enough, after {} runs; repeat with:",
        shrunk.runs
    );
    println!(
        "  spillway-sim --from {} --seeds 1 --seconds {seconds} --schedule {}",
        seed.0,
        path.display()
    );
    Ok(())
}

/// Processor time of this process, from proc_pid_schedstat: the first field is in nanoseconds.
fn cpu_seconds() -> anyhow::Result<f64> {
    let path = "/proc/self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let ns: u64 = first.parse().with_context(|| format!("{path}: {text}"))?;
    Ok(ns as f64 / 1e9)
}
