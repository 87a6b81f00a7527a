//! Runs many seeds on all processors, each on a thread of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;

use crate::rng::Seed;
use crate::schedule::Schedule;
use crate::world::{Outcome, Size, World, draw};

/// What was run of a seed.
pub struct Run {
    /// The seed that was run.
    pub seed: Seed,
    /// The faults that the seed draws.
    pub schedule: Schedule,
    /// Results: one, or two if the seed ran twice.
    pub outcomes: Vec<Outcome>,
    /// Processor time of the runs, in seconds.
    pub cpu_seconds: f64,
}

/// Runs all `seeds`, `times` times each. The results have the order of the seeds.
///
/// # Errors
///
/// A world cannot start, or the processor time cannot be read.
pub fn run_all(seeds: &[Seed], size: Size, times: usize) -> anyhow::Result<Vec<Run>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let runs: Mutex<Vec<anyhow::Result<Run>>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = run_seed(*seed, size, times);
                    runs.lock().expect("no thread panicked").push(run);
                }
            });
        }
    });
    let runs = runs.into_inner().expect("no thread panicked");
    let mut runs = runs.into_iter().collect::<anyhow::Result<Vec<Run>>>()?;
    let place = |run: &Run| seeds.iter().position(|seed| *seed == run.seed);
    runs.sort_by_key(place);
    Ok(runs)
}

/// Runs a seed `times` times with its own faults.
fn run_seed(seed: Seed, size: Size, times: usize) -> anyhow::Result<Run> {
    let schedule = draw(seed, size.lasts);
    let before = cpu_seconds()?;
    let mut outcomes = Vec::new();
    for _ in 0..times {
        outcomes.push(World::new(seed, size, &schedule)?.run());
    }
    let cpu_seconds = cpu_seconds()? - before;
    Ok(Run {
        seed,
        schedule,
        outcomes,
        cpu_seconds,
    })
}

/// Processor time of this thread, from proc_pid_schedstat: the first field is in nanoseconds.
///
/// # Errors
///
/// The kernel does not tell.
pub fn cpu_seconds() -> anyhow::Result<f64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let ns: u64 = first.parse().with_context(|| format!("{path}: {text}"))?;
    Ok(ns as f64 / 1e9)
}
