//! Writes all metrics of the shards in OpenMetrics format.

use super::histogram::{BOUNDS_DATAGRAMS, BOUNDS_US};
use super::shard_report::ShardReport;
use super::text::{header, histogram};
use super::{quality_metrics, streams, turn};
use crate::drop_reason::DropReason;
use crate::dtls::handshake::FailureKind;

/// One metric: name, help text, and its value in a report.
type Metric = (&'static str, &'static str, fn(&ShardReport) -> f64);

const COUNTERS: [Metric; 11] = [
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
        "link_packets_total",
        "Media packets queued for other nodes",
        |r| r.link_packets as f64,
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

/// The metrics of all shards in OpenMetrics format.
pub fn open_metrics(reports: &[ShardReport]) -> String {
    let mut out = String::new();
    build_info(&mut out);
    numbers(&mut out, reports);
    histograms(&mut out, reports);
    quality_metrics::write(&mut out, reports);
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

/// Writes counters and gauges of all shards.
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

/// Writes histograms of latencies and run lengths.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::ShardId;

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
