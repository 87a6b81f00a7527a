//! Spillway's TURN server and coturn, alternating, with the same clients: work per second of CPU, memory of an
//! allocation, and added latency.
//!
//! There are two kinds of peers. A peer on another host is the use of a general relay. A call with an SFU is the use of
//! Spillway's clients: coturn then relays to the SFU, while Spillway is relay and SFU in one process.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use serde_json::{Value, json};

pub mod client; // state machine of one TURN client
pub mod crowd; // many clients that allocate
pub mod storm; // allocations that are made and ended, or kept
pub mod payload; // content of relayed packets
pub mod relay; // packets to a peer on another host and back
pub mod call; // packets to an SFU and back
pub mod compare; // sums and ratios of both servers

use crate::fanout::measure::Measurement;
use crate::fanout::{Load, Setup};
use crate::host::facts::{self, Facts};
use crate::host::process::Pid;
use crate::net::addresses::Addresses;
use client::Goal;
use compare::{Latency, Work};
use crowd::{Arrival, RelayServer};
use relay::{Parties, Stream, Window};
use storm::Cycles;

/// Both relays and the load.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    /// Address of Spillway's TURN server, IP:PORT
    #[arg(long)]
    spillway: SocketAddrV4,
    /// Its process, on this host
    #[arg(long)]
    spillway_pid: u32,
    /// Address of coturn, IP:PORT
    #[arg(long)]
    coturn: SocketAddrV4,
    /// Its process, on this host
    #[arg(long)]
    coturn_pid: u32,
    /// Version and command line of coturn, for the result
    #[arg(long)]
    coturn_is: String,
    /// Shared secret of the TURN credentials of both servers
    #[arg(long, env = "SPILLWAY_BENCH_TURN_SECRET", hide_env_values = true)]
    secret: String,
    /// Media address of Spillway, the peer of calls
    #[arg(long)]
    media: SocketAddrV4,
    /// Control API of Spillway, IP:PORT
    #[arg(long)]
    control: SocketAddr,
    /// `spillway-bench host --listen` that watches both processes
    #[arg(long)]
    target: SocketAddr,
    /// Port of the peer elsewhere, which both may relay to: on the last address of the load
    #[arg(long, default_value_t = 5004)]
    peer_port: u16,
    /// Clients that relay to the peer elsewhere
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: u32,
    /// Packets of a frame; each client sends and gets 30 frames a second
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    frame_packets: u16,
    /// Subscribers of the call
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    subscribers: u32,
    /// Number of allocations that are kept, to measure their memory
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=16_000))]
    kept: u32,
    /// Allocations per second of all clients
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    allocations_per_second: u32,
    /// Clients that allocate at once, as they do when a meeting starts or another relay is gone
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    allocations_at_once: u32,
    /// Length of each window
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measured windows per server, after one warm-up window
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
}

/// One TURN server under test.
#[derive(Debug, Clone, Copy)]
struct Side<'a> {
    name: &'static str,
    server: RelayServer<'a>,
    pid: Pid,
}

const FRAMES_PER_SECOND: u32 = 30;
/// Distance of the clients' addresses: each is in its own network, as on the internet, so budgets are per client.
const STRIDE: usize = 257;
/// Maximum delay of a frame; above it the load generator is the limit.
const LATE_LIMIT: Duration = Duration::from_millis(20);
/// Bitrate of the call's publisher.
const BITRATE_BPS: u64 = 2_000_000;
const BURST_MS: u64 = 40;

/// Runs the benchmark. Returns the result as one line of JSON.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let cycles = in_turns(options, "allocations", |side| storm(options, side))?;
    let memory = memory(options)?;
    let windows = in_turns(options, "relayed", |side| relayed(options, Some(side)))?;
    let direct = [relayed(options, None)?];
    let calls = call(options)?;
    let mut line = json!({
        "bench": "turn",
        "clients": options.clients,
        "payload_bytes": payload::PAYLOAD_BYTES,
        "relayed_pps": u64::from(options.clients * FRAMES_PER_SECOND * 2) * u64::from(options.frame_packets),
        "allocations_per_second": options.allocations_per_second,
        "allocations_at_once": options.allocations_at_once,
        "kept_allocations": options.kept,
        "seconds": options.seconds,
        "bytes_per_allocation": memory[0],
        "bytes_per_allocation_coturn": memory[1],
        "coturn_is": options.coturn_is,
    });
    note_allocations(&mut line, &cycles)?;
    note_relayed(&mut line, &windows, &direct)?;
    for (key, value) in calls {
        line[key] = value;
    }
    line["host"] = serde_json::to_value(Facts::gather(Some(options.target.ip())))?;
    line["command"] = json!(facts::command_line());
    Ok(line.to_string())
}

impl Options {
    fn sides(&self) -> [Side<'_>; 2] {
        let of = |name, server, pid| Side {
            name,
            server: RelayServer {
                server,
                secret: self.secret.as_bytes(),
            },
            pid: Pid(pid),
        };
        [
            of("spillway", self.spillway, self.spillway_pid),
            of("coturn", self.coturn, self.coturn_pid),
        ]
    }

    fn arrival(&self, clients: u32) -> Arrival {
        Arrival {
            addresses: Addresses::LAB,
            clients: clients as usize,
            per_second: self.allocations_per_second,
            burst: self.allocations_at_once as usize,
            stride: STRIDE,
        }
    }
}

/// Memory of an allocation. Measured after many allocations that were ended immediately, so that one-time memory is in
/// use, and before many allocations exist at the same time: a server that reuses freed memory does not grow.
fn memory(options: &Options) -> anyhow::Result<[u64; 2]> {
    let mut grown = [0; 2];
    let goal = Goal::Channel(options.media);
    for (side, grown) in options.sides().into_iter().zip(&mut grown) {
        *grown = storm::memory(side.server, side.pid, options.arrival(options.kept), goal)?;
        eprintln!("{:<9} {grown:>9} bytes an allocation", side.name);
    }
    Ok(grown)
}

/// Runs both servers alternately; the first results are discarded.
fn in_turns<'a, T>(
    options: &'a Options,
    what: &str,
    mut once: impl FnMut(Side<'a>) -> anyhow::Result<T>,
) -> anyhow::Result<[Vec<T>; 2]> {
    let mut runs = [Vec::new(), Vec::new()];
    for turn in 0..=options.runs {
        for (side, runs) in options.sides().into_iter().zip(&mut runs) {
            eprint!("{:<9} {what} {turn}: ", side.name);
            let result = once(side)?;
            if turn > 0 {
                runs.push(result);
            }
        }
    }
    Ok(runs)
}

fn storm(options: &Options, side: Side<'_>) -> anyhow::Result<Cycles> {
    let seconds = u32::try_from(options.seconds)?;
    let clients = options.allocations_per_second.saturating_mul(seconds);
    // Limited by the number of addresses at this distance.
    let most = u32::try_from(Addresses::LAB.capacity() / STRIDE)?;
    let arrival = options.arrival(clients.min(most));
    let cycles = storm::cycle(side.server, side.pid, arrival)?;
    eprintln!(
        "{} made and given back, {} requests repeated, {:.2} CPU-seconds",
        cycles.allocations, cycles.repeated, cycles.cpu_seconds
    );
    Ok(cycles)
}

/// Measures a window through `side`, or without a relay.
fn relayed(options: &Options, side: Option<Side<'_>>) -> anyhow::Result<Window> {
    let arrival = options.arrival(options.clients);
    let parties = Parties {
        relay: side.map(|side| (side.server, side.pid)),
        arrival,
        peer: SocketAddrV4::new(relay::peer_address(&arrival), options.peer_port),
    };
    let stream = Stream {
        frames_per_second: FRAMES_PER_SECOND,
        frame_packets: options.frame_packets,
        time: Duration::from_secs(options.seconds),
    };
    let window = relay::measure(parties, stream)?;
    eprintln!(
        "{} of {} delivered, {:.2} CPU-seconds, p50 {:.0} us, p99 {:.0} us, late {:.1} ms",
        window.delivered,
        window.sent,
        window.cpu_seconds,
        window.latency_ns.value_at_quantile(0.5) as f64 / 1e3,
        window.latency_ns.value_at_quantile(0.99) as f64 / 1e3,
        window.late.as_secs_f64() * 1e3,
    );
    Ok(window)
}

fn note_allocations(line: &mut Value, cycles: &[Vec<Cycles>; 2]) -> anyhow::Result<()> {
    let ours = Work::allocated("spillway", &cycles[0])?;
    let theirs = Work::allocated("coturn", &cycles[1])?;
    line["ratio_allocations_per_cpu_second"] = json!(ours.ratio_to(&theirs)?);
    line["allocations"] = json!({"spillway": ours, "coturn": theirs});
    Ok(())
}

fn note_relayed(
    line: &mut Value,
    windows: &[Vec<Window>; 2],
    direct: &[Window],
) -> anyhow::Result<()> {
    let ours = Work::relayed("spillway", &windows[0])?;
    let theirs = Work::relayed("coturn", &windows[1])?;
    // If the host stops for a moment, one server may lose packets; then no ratio is reported.
    let ratio = ours.ratio_to(&theirs);
    if let Err(unequal) = &ratio {
        eprintln!("relayed elsewhere: {unequal}");
    }
    line["ratio_relayed_elsewhere_per_cpu_second"] = json!(ratio.ok());
    line["relayed_elsewhere"] = json!({"spillway": ours, "coturn": theirs});
    line["lost"] = json!(ours.lost);
    let direct = Latency::of(direct);
    let [ours, theirs] = [0, 1].map(|side| Latency::of(&windows[side]));
    line["latency_us"] = json!({"spillway": ours, "coturn": theirs, "direct": direct});
    line["added_latency_us"] = json!({
        "spillway": ours.beyond(&direct),
        "coturn": theirs.beyond(&direct),
    });
    let late = windows.iter().flatten().map(|window| window.late).max();
    let late = late.unwrap_or_default();
    line["load_generator_limited"] = json!(late > LATE_LIMIT);
    line["load_generator_limits"] = json!([format!("a frame was {} ms late", late.as_millis())]);
    Ok(())
}

/// Measures the call through both servers and without a relay, alternately. Returns values by name.
fn call(options: &Options) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let load = Load::video(BITRATE_BPS, BURST_MS);
    let setup = Setup::of_spillway(options.control, None, options.target, load);
    let call = call::Call {
        subscribers: options.subscribers as usize,
        per_second: options.allocations_per_second,
        time: Duration::from_secs(options.seconds),
        media: options.media,
    };
    let mut past = Vec::new();
    let runs = in_turns(options, "call", |side| {
        // The cost of the SFU alone is measured at about the same time.
        if side.pid == Pid(options.spillway_pid) {
            past.push(without_latency(call::once(&setup, None, call)?));
            eprint!("through spillway: ");
        }
        Ok(without_latency(call::once(
            &setup,
            Some(side.server),
            call,
        )?))
    })?;
    let direct = Work::called("the call without a relay", &past[1..])?;
    let ours = Work::called("spillway", &runs[0])?;
    let theirs = Work::called("coturn", &runs[1])?;
    let added = [ours, theirs].map(|work| work.beyond(&direct));
    Ok(vec![
        (
            "ratio_relayed_per_cpu_second",
            json!(ours.ratio_to(&theirs)?),
        ),
        // A difference of similar sums; no ratio if it is too small to be measured.
        ("ratio_added_per_cpu_second", json!(added_ratio(&added))),
        ("added", json!({"spillway": added[0], "coturn": added[1]})),
        (
            "call",
            json!({"spillway": ours, "coturn": theirs, "direct": direct}),
        ),
        ("lost_in_call", json!(ours.lost)),
    ])
}

fn added_ratio([ours, theirs]: &[Option<Work>; 2]) -> Option<f64> {
    ours.as_ref()?.ratio_to(theirs.as_ref()?).ok()
}

fn without_latency(measured: Measurement) -> Measurement {
    eprintln!(
        "{} delivered, {} lost, {:.2} CPU-seconds of both, p99 {:.1} ms",
        measured.delivered_packets,
        measured.lost_packets,
        measured.dataplane_cpu_seconds.unwrap_or(0.0),
        measured.latency_us.p99 as f64 / 1e3,
    );
    measured
}
