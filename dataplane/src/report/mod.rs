//! What a shard counts, and how it is shown to Prometheus.
//!
//! Shards count in plain integers and send a copy now and then; nothing here is touched by a packet.

mod quality; // how calls are for those who watch
mod turn; // of the relay
mod streams; // of TCP and TLS

pub use quality::{Quality, Sample};

use std::time::Duration;

use crate::drop_reason::{DropReason, Drops};
use crate::dtls::handshake::FailureKind;
use crate::key::ShardId;
use crate::stream;
use crate::turn::Counts;

/// Counters of one shard since start, and its gauges of now.
#[derive(Debug, Clone)]
pub struct ShardReport {
    /// Which shard.
    pub shard: ShardId,
    /// Datagrams and bytes from and to the network.
    pub traffic: Traffic,
    /// Packets lost, by reason.
    pub drops: Drops,
    /// Datagrams the kernel lost because the socket's receive buffer was full.
    pub kernel_drops: u64,
    /// Media packets copied to other shards.
    pub mesh_packets: u64,
    /// Handshakes that failed, in the order of [`FailureKind::ALL`].
    pub handshake_failures: [u64; FailureKind::ALL.len()],
    /// Packets sent again because they were asked for.
    pub resent: u64,
    /// Bytes of padding, to make packets as long as their neighbours and to try a path.
    pub padding_bytes: u64,
    /// Runs the kernel refused, and that were sent as single datagrams.
    pub refused_runs: u64,
    /// Messages that left as whole frames.
    pub frames: u64,
    /// Datagrams per message handed to the kernel.
    pub runs: RunHistogram,
    /// Sessions that live here.
    pub sessions: usize,
    /// Tracks published here.
    pub tracks: usize,
    /// Subscriptions of sessions that live here.
    pub subscriptions: usize,
    /// Part of the last interval spent working, 0 to 1.
    pub busy_fraction: f64,
    /// Time from arrival to transmission of media.
    pub latency: LatencyHistogram,
    /// How calls are for those who watch.
    pub quality: Quality,
    /// Of the relay, where there is one.
    pub turn: Option<Box<Counts>>,
    /// Of streams.
    pub streams: stream::Counts,
}

/// Datagrams and bytes, UDP payload only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Datagrams received.
    pub packets_in: u64,
    /// Datagrams the kernel accepted for sending.
    pub packets_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel accepted for sending.
    pub bytes_out: u64,
}

/// Times in buckets, each four times as wide as the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct LatencyHistogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
}

/// Lengths of runs, in datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunHistogram {
    counts: [u64; BOUNDS_DATAGRAMS.len() + 1],
    datagrams: u64,
}

/// Upper bounds of the buckets of runs.
const BOUNDS_DATAGRAMS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Upper bounds of the buckets, in microseconds.
const BOUNDS_US: [u64; 10] = [25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 25_600];

impl ShardReport {
    /// Nothing counted yet.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            traffic: Traffic::default(),
            drops: Drops::default(),
            kernel_drops: 0,
            mesh_packets: 0,
            handshake_failures: Default::default(),
            resent: 0,
            padding_bytes: 0,
            refused_runs: 0,
            frames: 0,
            runs: RunHistogram::default(),
            sessions: 0,
            tracks: 0,
            subscriptions: 0,
            busy_fraction: 0.0,
            latency: LatencyHistogram::default(),
            quality: Quality::default(),
            turn: None,
            streams: stream::Counts::default(),
        }
    }
}

impl RunHistogram {
    /// Counts a run of `datagrams`.
    pub fn record(&mut self, datagrams: usize) {
        self.counts[BOUNDS_DATAGRAMS.partition_point(|bound| *bound < datagrams)] += 1;
        self.datagrams += datagrams as u64;
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl LatencyHistogram {
    /// Counts `packets` that took `time` each.
    pub fn record(&mut self, time: Duration, packets: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += packets;
        self.sum += time * u32::try_from(packets).unwrap_or(u32::MAX);
    }
}

/// One metric: name, help, and its value for a shard.
type Metric = (&'static str, &'static str, fn(&ShardReport) -> f64);

const COUNTERS: [Metric; 10] = [
    ("packets_received_total", "Datagrams received", |r| {
        r.traffic.packets_in as f64
    }),
    (
        "packets_sent_total",
        "Datagrams the kernel accepted for sending",
        |r| r.traffic.packets_out as f64,
    ),
    ("received_bytes_total", "UDP payload bytes received", |r| {
        r.traffic.bytes_in as f64
    }),
    ("sent_bytes_total", "UDP payload bytes sent", |r| {
        r.traffic.bytes_out as f64
    }),
    (
        "kernel_drops_total",
        "Datagrams lost to a full receive buffer (SO_RXQ_OVFL)",
        |r| r.kernel_drops as f64,
    ),
    (
        "mesh_packets_total",
        "Media packets copied to other shards",
        |r| r.mesh_packets as f64,
    ),
    (
        "resent_packets_total",
        "Packets sent again because a subscriber asked for them",
        |r| r.resent as f64,
    ),
    ("padding_bytes_total", "Bytes of RTP padding sent", |r| {
        r.padding_bytes as f64
    }),
    (
        "refused_runs_total",
        "Joined datagrams that the kernel refused and that were sent one by one",
        |r| r.refused_runs as f64,
    ),
    (
        "frames_total",
        "Messages that left as whole frames (egress packet)",
        |r| r.frames as f64,
    ),
];

const GAUGES: [Metric; 4] = [
    ("sessions", "Sessions that live on the shard", |r| {
        r.sessions as f64
    }),
    ("tracks", "Tracks published on the shard", |r| {
        r.tracks as f64
    }),
    (
        "subscriptions",
        "Subscriptions of sessions on the shard",
        |r| r.subscriptions as f64,
    ),
    (
        "shard_busy_ratio",
        "Part of the last interval spent working, 0 to 1",
        |r| r.busy_fraction,
    ),
];

/// All reports in OpenMetrics.
pub fn open_metrics(reports: &[ShardReport]) -> String {
    let mut out = String::new();
    build_info(&mut out);
    numbers(&mut out, reports);
    histograms(&mut out, reports);
    quality::write(&mut out, reports);
    turn::write(&mut out, reports);
    streams::write(&mut out, reports);
    out
}

fn build_info(out: &mut String) {
    header(out, "build_info", "gauge", "What was built, and of what");
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("SPILLWAY_BUILD_COMMIT"));
    out.push_str(&format!(
        "spillway_dataplane_build_info{{version=\"{version}\",commit=\"{commit}\"}} 1\n"
    ));
}

/// Counters and gauges.
fn numbers(out: &mut String, reports: &[ShardReport]) {
    let counters = COUNTERS.iter().map(|metric| ("counter", metric));
    let gauges = GAUGES.iter().map(|metric| ("gauge", metric));
    for (kind, (name, help, value)) in counters.chain(gauges) {
        header(out, name, kind, help);
        for report in reports {
            let (shard, value) = (report.shard, value(report));
            out.push_str(&format!(
                "spillway_dataplane_{name}{{shard=\"{shard}\"}} {value}\n"
            ));
        }
    }
    header(
        out,
        "drops_total",
        "counter",
        "Packets not forwarded, by reason",
    );
    for report in reports {
        for reason in DropReason::ALL {
            let (shard, label, count) = (report.shard, reason.label(), report.drops.of(reason));
            out.push_str(&format!(
                "spillway_dataplane_drops_total{{shard=\"{shard}\",reason=\"{label}\"}} {count}\n"
            ));
        }
    }
    header(
        out,
        "handshake_failures_total",
        "counter",
        "DTLS handshakes that failed, by reason",
    );
    for report in reports {
        for (kind, count) in FailureKind::ALL.iter().zip(report.handshake_failures) {
            let (shard, label) = (report.shard, kind.label());
            out.push_str(&format!(
                "spillway_dataplane_handshake_failures_total{{shard=\"{shard}\",reason=\"{label}\"}} {count}\n"
            ));
        }
    }
}

/// Times and lengths of what is forwarded.
fn histograms(out: &mut String, reports: &[ShardReport]) {
    header(
        out,
        "forward_seconds",
        "histogram",
        "Time of media packets from arrival to the kernel's acceptance",
    );
    for report in reports {
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        let latency = &report.latency;
        let buckets = bounds.zip(latency.counts).collect();
        let rest = latency.counts[BOUNDS_US.len()];
        let sum = latency.sum.as_secs_f64();
        histogram(out, ("forward_seconds", report.shard), buckets, (rest, sum));
    }
    header(
        out,
        "run_packets",
        "histogram",
        "Datagrams sealed as one message for the kernel",
    );
    for report in reports {
        let bounds = BOUNDS_DATAGRAMS.iter().map(ToString::to_string);
        let buckets = bounds.zip(report.runs.counts).collect();
        let rest = report.runs.counts[BOUNDS_DATAGRAMS.len()];
        let sum = report.runs.datagrams as f64;
        histogram(out, ("run_packets", report.shard), buckets, (rest, sum));
    }
}

/// What goes before the values of a metric. The family of a counter is named without the `_total` of its values.
fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let name = match kind {
        "counter" => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    out.push_str(&format!(
        "# HELP spillway_dataplane_{name} {help}\n# TYPE spillway_dataplane_{name} {kind}\n"
    ));
}

fn histogram(
    out: &mut String,
    (name, shard): (&str, ShardId),
    buckets: Vec<(String, u64)>,
    (rest, sum): (u64, f64),
) {
    let mut below = 0;
    for (bound, count) in buckets.into_iter().chain([("+Inf".to_owned(), rest)]) {
        below += count;
        out.push_str(&format!(
            "spillway_dataplane_{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {below}\n"
        ));
    }
    out.push_str(&format!(
        "spillway_dataplane_{name}_sum{{shard=\"{shard}\"}} {sum}\n"
    ));
    out.push_str(&format!(
        "spillway_dataplane_{name}_count{{shard=\"{shard}\"}} {below}\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_shown_with_help_and_type() {
        let mut report = ShardReport::new(ShardId(3));
        report.traffic.packets_in = 7;
        report.drops.count_many(DropReason::MeshFull, 5);
        report.latency.record(Duration::from_micros(70), 2);
        report.latency.record(Duration::from_secs(1), 1);
        let text = open_metrics(&[report]);
        for line in [
            "spillway_dataplane_packets_received_total{shard=\"3\"} 7",
            "spillway_dataplane_drops_total{shard=\"3\",reason=\"mesh_full\"} 5",
            "spillway_dataplane_forward_seconds_bucket{shard=\"3\",le=\"0.00005\"} 0",
            "spillway_dataplane_forward_seconds_bucket{shard=\"3\",le=\"0.0001\"} 2",
            "spillway_dataplane_forward_seconds_bucket{shard=\"3\",le=\"+Inf\"} 3",
            "spillway_dataplane_forward_seconds_count{shard=\"3\"} 3",
            "# TYPE spillway_dataplane_forward_seconds histogram",
        ] {
            assert!(
                text.lines().any(|got| got == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
