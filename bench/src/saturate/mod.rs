//! Increases the number of subscribers until a resource is exhausted, and names the resource.
//!
//! Sessions stay connected. Steps grow by a factor until one fails in all its tries. Then publishers are silenced to
//! find the limit by bisection. If the step above the limit fails again, the search ends; further steps are judged by
//! loss only.

pub mod limit; // the resource that was full
pub mod curve; // the steps of a run and their results
pub mod report; // chart and page of a run

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use self::curve::{Curve, Step};
use self::limit::{Limit, Verdict};
use crate::fanout::farm::Farm;
use crate::fanout::measure::{Measurement, System, measure};
use crate::fanout::{Setup, parse_bitrate_of_link};
use crate::host::facts::{self, Facts};

/// Start and end of the load.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Participants that send, out of phase; subscribers are spread over them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    publishers: u32,
    /// Subscribers of the first step
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    from: u32,
    /// Subscribers of the last step, if no limit is reached before
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    to: u32,
    /// Length of each step's window
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Speed of the link between the hosts, such as 1gbit: a full link queues, so latency does not count
    #[arg(long, value_parser = parse_bitrate_of_link)]
    link: Option<u64>,
    /// Folder for saturate.json, saturate.svg and saturate.html
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// Growth from step to step.
const GROWTH: f64 = 1.5;
/// Growth near the limit.
const PUSH: f64 = 1.12;
/// Load of the last step below a full link, and of the first step above it, as fractions of the link speed.
const BEFORE_LINK: f64 = 0.985;
const PAST_LINK: f64 = 1.03;
/// Maximum number of tries per step.
const TRIES: u32 = 3;
/// Number of bisection steps between the last passed and the first failed step.
const HALVINGS: u32 = 4;

/// Runs the benchmark and writes its files. Returns the JSON line.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let Options { setup, out, .. } = options;
    anyhow::ensure!(
        options.from <= options.to,
        "--from {} is more than --to {}",
        options.from,
        options.to
    );
    setup.check(options.publishers)?;
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make folder {}", out.display()))?;
    let mut system = setup.system()?;
    // The ceiling is measured before and after; the better result counts, because the other was disturbed.
    let mut ceiling = setup.ceiling(&mut system, options.from.max(1_000), None)?;
    let mut raising = Raising {
        options,
        farm: Farm::new(setup.server(), setup.sources(), setup.load())?,
        system: &mut system,
        steps: Vec::new(),
    };
    raising.farm.add_publishers(options.publishers as usize)?;
    let limit = raising.raise()?;
    let mut steps = std::mem::take(&mut raising.steps);
    drop(raising);
    let bytes = steps
        .last()
        .and_then(|step| step.measurement.mean_datagram_bytes());
    let again = setup.ceiling(&mut system, options.from.max(1_000), bytes)?;
    ceiling = ceiling.zip(again).map(|(before, after)| before.max(after));
    steps.sort_by_key(|step| step.measurement.subscribers);
    let curve = Curve::new(steps, limit, ceiling, options.link)
        .described(setup.media(), options.publishers, setup.server().name())
        .on(system.facts()?, Facts::gather(None), facts::command_line());
    write_files(&curve, out)?;
    Ok(serde_json::to_string(&curve.line())?)
}

fn write_files(curve: &Curve, out: &Path) -> anyhow::Result<()> {
    let files = [
        ("saturate.json", serde_json::to_string_pretty(curve)?),
        ("saturate.svg", report::svg::draw(curve)),
        ("saturate.html", report::html::page(curve)),
    ];
    for (name, text) in files {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!(
        "the curve is in {}/saturate.html, .svg and .json",
        out.display()
    );
    Ok(())
}

struct Raising<'a> {
    options: &'a Options,
    farm: Farm,
    system: &'a mut System,
    steps: Vec<Step>,
}

impl Raising<'_> {
    fn raise(&mut self) -> anyhow::Result<Limit> {
        let publishers = self.options.publishers as usize;
        let mut wanted = self.options.from as usize;
        let (mut passed, mut growth) = (0, GROWTH);
        loop {
            self.farm
                .add_subscribers(wanted - self.farm.subscribers())?;
            match self.step(publishers)? {
                Verdict::Passed => passed = wanted,
                Verdict::Failed(limit) => {
                    self.narrow(passed, wanted)?;
                    if self.options.link.is_some() {
                        return Ok(limit);
                    }
                    // The disturbance may be over.
                    if self.step(publishers)? != Verdict::Passed {
                        self.search_beyond_latency()?;
                        // The exhausted resource is most visible far above the limit.
                        return Ok(limit);
                    }
                    (passed, growth) = (wanted, PUSH);
                }
            }
            if wanted == self.options.to as usize {
                return Ok(Limit::NotReached);
            }
            wanted = self.next(wanted, growth).min(self.options.to as usize);
        }
    }

    /// Number of subscribers of the next step: just above the link's speed when the link is almost full.
    fn next(&self, now: usize, growth: f64) -> usize {
        let grown = (now as f64 * growth).ceil() as usize;
        let used = self
            .steps
            .last()
            .map_or(0.0, |step| step.measurement.wire_gbps * 1e9);
        match self.options.link {
            Some(link) if used > 0.0 => {
                let full = now as f64 * link as f64 / used;
                let before = (full * BEFORE_LINK) as usize;
                let edge = if now < before {
                    before
                } else {
                    (full * PAST_LINK) as usize
                };
                grown.min(edge.max(now + 1))
            }
            Some(_) | None => grown,
        }
    }

    /// Bisects between `passed` and `failed` subscribers, by silencing publishers.
    fn narrow(&mut self, passed: usize, failed: usize) -> anyhow::Result<()> {
        let all = self.options.publishers as usize;
        let (mut good, mut bad) = (all * passed / failed, all);
        for _ in 0..HALVINGS {
            let active = usize::midpoint(good, bad);
            if active <= good || active == 0 {
                break;
            }
            match self.step(active)? {
                Verdict::Passed => good = active,
                Verdict::Failed(_) => bad = active,
            }
        }
        Ok(())
    }

    /// Continues above the latency limit, to find how much is delivered before packets are lost.
    fn search_beyond_latency(&mut self) -> anyhow::Result<()> {
        let publishers = self.options.publishers as usize;
        let mut wanted = self.farm.subscribers();
        while wanted <= self.options.to as usize {
            self.farm
                .add_subscribers(wanted - self.farm.subscribers())?;
            self.step(publishers)?;
            let of_this = |step: &&Step| step.measurement.subscribers == wanted;
            let last = self.steps.iter().rfind(of_this);
            if last.is_none_or(|step| !limit::keeps_up(&step.measurement)) {
                break;
            }
            wanted = (wanted as f64 * PUSH).ceil() as usize;
        }
        Ok(())
    }

    /// Repeats a failed step: a single failure may be a disturbance.
    fn step(&mut self, active: usize) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::Passed;
        for _ in 0..TRIES {
            let time = Duration::from_secs(self.options.seconds);
            let measurement = measure(&mut self.farm, self.system, time, active)?;
            verdict = limit::judge(&measurement, self.options.link);
            say(&measurement, &verdict);
            let passed = verdict == Verdict::Passed;
            if passed {
                self.steps.push(Step {
                    passed,
                    measurement,
                });
                return Ok(verdict);
            }
            // Of failed tries, the one with the highest load is kept.
            let same = |step: &Step| {
                !step.passed && step.measurement.subscribers == measurement.subscribers
            };
            match self.steps.iter_mut().find(|step| same(step)) {
                Some(step) if limit::keeps_up(&step.measurement) => {}
                Some(step) => step.measurement = measurement,
                None => self.steps.push(Step {
                    passed,
                    measurement,
                }),
            }
        }
        Ok(verdict)
    }
}

fn say(m: &Measurement, verdict: &Verdict) {
    let busy = m
        .shard_busy
        .values()
        .fold(0.0_f64, |most, busy| most.max(*busy));
    eprintln!(
        "{:>6} subscribers  {:>7.3} Gb/s  {:>8.0} packets/s  lost {:.4} %  p99 {:>8.1} ms  shard {:>3.0} %  load {:>3.0} %  {}",
        m.subscribers,
        m.delivered_gbps,
        m.delivered_pps,
        m.lost_fraction * 100.0,
        m.latency_us.p99 as f64 / 1e3,
        busy * 100.0,
        m.load_generator_busy * 100.0,
        match verdict {
            Verdict::Passed => "",
            Verdict::Failed(_) => "over",
        }
    );
}
