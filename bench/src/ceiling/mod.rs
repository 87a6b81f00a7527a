//! Measures the maximum send rate of a host: datagrams of one size to thousands of addresses, with each sending method
//! of the kernel. Only delivered datagrams count.

pub mod receiver; // counts received datagrams, on the load host

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use self::receiver::Receiver;
use crate::host::sender::{Batch, Method, Order};
use crate::host::{self, HostUnderTest};
use crate::net::addresses::Addresses;

/// Options of the ceiling benchmark.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    /// Address of `spillway-bench host --listen` on the host under test
    #[arg(long)]
    target: SocketAddr,
    /// Addresses of this host that datagrams are sent to
    #[arg(long, default_value = "10.64.0.0/10")]
    sources: Addresses,
    /// Number of destination addresses
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// UDP payload of a datagram
    #[arg(long, default_value_t = 1_180, value_parser = clap::value_parser!(u16).range(64..=1_472))]
    bytes: u16,
    /// Seconds of each measurement, after a warm-up
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

/// Result of one sending method.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Name of the sending method.
    pub method: String,
    /// True if every datagram is encrypted with AES-128-GCM.
    pub encrypted: bool,
    /// Datagrams accepted by the kernel, per second.
    pub sent_pps: f64,
    /// Datagrams that arrived, per second.
    pub delivered_pps: f64,
    /// Gigabits of UDP payload that arrived, per second.
    pub delivered_gbps: f64,
    /// CPU time of the sender per delivered datagram, in ns.
    pub cpu_ns_per_packet: f64,
}

/// The datagrams that [`measure`] sends.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Addresses that the datagrams go to.
    pub sources: Addresses,
    /// Number of destination addresses.
    pub subscribers: u32,
    /// Bytes of UDP payload per datagram.
    pub bytes: u16,
    /// Duration of the measurement.
    pub time: Duration,
}

const WARM_UP: Duration = Duration::from_millis(200);
/// Run lengths that are measured with UDP_SEGMENT.
const RUNS: [u16; 4] = [2, 4, 8, 16];

/// Measures `batch` on `host`, after a warm-up.
pub fn measure(host: &mut HostUnderTest, plan: &Plan, batch: Batch) -> anyhow::Result<Row> {
    let mut receiver = Receiver::bind()?;
    let order = |time: Duration| Order {
        port: receiver.port(),
        first: plan.sources.of(0),
        addresses: plan.subscribers,
        bytes: plan.bytes,
        milliseconds: u64::try_from(time.as_millis()).expect("a minute at most"),
        batch,
    };
    let (warm_up, order) = (order(WARM_UP), order(plan.time));
    receiver.count_while(|| host.send(&warm_up))?;
    let (sent, delivered) = receiver.count_while(|| host.send(&order))?;
    let delivered_pps = delivered.datagrams as f64 / sent.seconds;
    Ok(Row {
        method: batch.method.to_string(),
        encrypted: batch.encrypted,
        sent_pps: sent.datagrams as f64 / sent.seconds,
        delivered_pps,
        delivered_gbps: delivered.bytes as f64 * 8e-9 / sent.seconds,
        cpu_ns_per_packet: sent.cpu_seconds * 1e9 / (delivered.datagrams as f64).max(1.0),
    })
}

/// Measures all sending methods, and prints each result.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut host = HostUnderTest::connect(options.target)?;
    let plan = Plan {
        sources: options.sources,
        subscribers: options.subscribers,
        bytes: options.bytes,
        time: Duration::from_secs(options.seconds),
    };
    let joined = RUNS.map(|segments| Method::Gso { segments });
    let methods = [Method::Sendto, Method::Sendmmsg].into_iter().chain(joined);
    let mut rows = Vec::new();
    for method in methods {
        for encrypted in [false, true] {
            let row = measure(&mut host, &plan, Batch { method, encrypted })?;
            eprintln!(
                "{:<12} {:<9} {:>9.0} delivered/s  {:>6.2} Gb/s  {:>6.0} ns each",
                row.method,
                if encrypted { "encrypted" } else { "plain" },
                row.delivered_pps,
                row.delivered_gbps,
                row.cpu_ns_per_packet,
            );
            rows.push(row);
        }
    }
    let plain = rows
        .iter()
        .find(|row| row.method == "sendmmsg" && !row.encrypted);
    let line = json!({
        "bench": "ceiling",
        "subscribers": options.subscribers,
        "datagram_bytes": options.bytes,
        "ceiling_sendmmsg_pps": plain.map(|row| row.delivered_pps),
        "rows": rows,
        "host": host.facts()?,
        "load_host": host::facts::Facts::gather(None),
        "command": host::facts::command_line(),
    });
    anyhow::ensure!(
        crate::output::say(&line.to_string()),
        "cannot write to the standard output"
    );
    Ok(())
}
