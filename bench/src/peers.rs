//! The same publishers and receivers on Spillway and on Janus, alternating: deliveries per second of CPU. Only equal
//! deliveries are compared.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::fanout::farm::Farm;
use crate::fanout::measure::{Measurement, measure};
use crate::fanout::{Load, Setup};
use crate::host::facts::{self, Facts};

/// Both servers and the load.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    /// Control API of the data plane, IP:PORT
    #[arg(long)]
    control: SocketAddr,
    /// Metrics of the data plane, IP:PORT
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// `spillway-bench host --listen` that watches the data plane
    #[arg(long)]
    target: SocketAddr,
    /// WebSocket API of Janus, IP:PORT
    #[arg(long)]
    janus: SocketAddr,
    /// `spillway-bench host --listen` that watches Janus
    #[arg(long)]
    janus_target: SocketAddr,
    /// Number of participants that receive
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Length of each window
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Measured runs per server, after one warm-up run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// Bitrate of the publisher's video, RTP headers included
    #[arg(long, default_value = "2mbit", value_parser = crate::fanout::parse_bitrate)]
    bitrate: u64,
    /// Maximum burst of the publisher's pacer in ms; 0: each frame at once
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=100))]
    burst_ms: u64,
}

/// Sum of a server's runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Sum {
    runs: usize,
    delivered_packets: u64,
    delivered_bytes: u64,
    lost_packets: u64,
    cpu_seconds: f64,
    delivered_per_cpu_second: f64,
    cpu_ns_per_packet: f64,
    latency_p99_us: u64,
}

/// Reason why two sums cannot be compared.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Unequal {
    #[error(
        "delivered bytes differ by {percent:.2} %, more than {MAX_DIFFERENCE_PERCENT} %: spillway {spillway}, janus {janus}"
    )]
    Delivered {
        percent: f64,
        spillway: u64,
        janus: u64,
    },
    #[error("{0} used no processor time that could be measured: measure for longer")]
    NoTime(&'static str),
}

const MAX_DIFFERENCE_PERCENT: f64 = 2.0;

/// Runs both servers alternately. Returns the JSON line with their ratio.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let load = Load::video(options.bitrate, options.burst_ms);
    let spillway = Setup::of_spillway(options.control, options.metrics, options.target, load);
    let janus = Setup::of_janus(options.janus, options.janus_target, load);
    let mut runs = [Vec::new(), Vec::new()];
    for turn in 0..=options.runs {
        for (setup, runs) in [&spillway, &janus].into_iter().zip(&mut runs) {
            let measured = once(setup, options)?;
            eprintln!(
                "{:<9} {:>9} packets  {:>6.2} CPU-seconds  lost {:>6}  p99 {:>7.1} ms{}",
                setup.server().name(),
                measured.delivered_packets,
                measured.dataplane_cpu_seconds.unwrap_or(0.0),
                measured.lost_packets,
                measured.latency_us.p99 as f64 / 1e3,
                if turn == 0 { "  (discarded)" } else { "" },
            );
            if turn > 0 {
                runs.push(measured);
            }
        }
    }
    let limited = runs.iter().flatten().any(|run| run.load_generator_limited);
    let limits: Vec<_> = runs
        .iter()
        .flatten()
        .flat_map(|run| &run.load_generator_limits)
        .collect();
    let [ours, theirs] = [sum(&runs[0], "spillway")?, sum(&runs[1], "janus")?];
    let ratio = compare(&ours, &theirs)?;
    let line = json!({
        "bench": "peers",
        "publishers": 1,
        "subscribers": options.subscribers,
        "seconds": options.seconds,
        "bitrate_bps": options.bitrate,
        "burst_ms": options.burst_ms,
        "ratio_delivered_per_cpu_second": ratio,
        "spillway": ours,
        "janus": theirs,
        "load_generator_limited": limited,
        "load_generator_limits": limits,
        "host": spillway.system()?.facts()?,
        "load_host": Facts::gather(None),
        "command": facts::command_line(),
    });
    Ok(line.to_string())
}

fn once(setup: &Setup, options: &Options) -> anyhow::Result<Measurement> {
    let mut system = setup.system()?;
    let mut farm = Farm::new(setup.server(), setup.sources(), setup.load())?;
    farm.add_publishers(1)?;
    farm.add_subscribers(options.subscribers as usize)?;
    measure(
        &mut farm,
        &mut system,
        Duration::from_secs(options.seconds),
        1,
    )
}

fn sum(runs: &[Measurement], name: &'static str) -> Result<Sum, Unequal> {
    let packets: u64 = runs.iter().map(|run| run.delivered_packets).sum();
    let cpu: f64 = runs
        .iter()
        .filter_map(|run| run.dataplane_cpu_seconds)
        .sum();
    if cpu <= 0.0 || packets == 0 {
        return Err(Unequal::NoTime(name));
    }
    Ok(Sum {
        runs: runs.len(),
        delivered_packets: packets,
        delivered_bytes: runs.iter().map(Measurement::delivered_bytes).sum(),
        lost_packets: runs.iter().map(|run| run.lost_packets).sum(),
        cpu_seconds: cpu,
        delivered_per_cpu_second: packets as f64 / cpu,
        cpu_ns_per_packet: cpu * 1e9 / packets as f64,
        latency_p99_us: runs.iter().map(|run| run.latency_us.p99).max().unwrap_or(0),
    })
}

fn compare(spillway: &Sum, janus: &Sum) -> Result<f64, Unequal> {
    let (ours, theirs) = (spillway.delivered_bytes, janus.delivered_bytes);
    let percent = ours.abs_diff(theirs) as f64 * 100.0 / (ours.max(theirs) as f64).max(1.0);
    if percent > MAX_DIFFERENCE_PERCENT {
        return Err(Unequal::Delivered {
            percent,
            spillway: ours,
            janus: theirs,
        });
    }
    Ok(spillway.delivered_per_cpu_second / janus.delivered_per_cpu_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64, per_cpu_second: f64) -> Sum {
        Sum {
            runs: 1,
            delivered_packets: 1,
            delivered_bytes: bytes,
            lost_packets: 0,
            cpu_seconds: 1.0,
            delivered_per_cpu_second: per_cpu_second,
            cpu_ns_per_packet: 1.0,
            latency_p99_us: 1,
        }
    }

    #[test]
    fn only_equal_deliveries_are_compared() {
        assert_eq!(compare(&of(1_000, 50.0), &of(985, 10.0)), Ok(5.0));
        let refused = compare(&of(1_000, 50.0), &of(970, 10.0)).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("3.00 %") && text.contains("2 %") && text.contains("970"),
            "{text}"
        );
        assert_eq!(
            sum(&[Measurement::default()], "janus"),
            Err(Unequal::NoTime("janus"))
        );
    }
}
