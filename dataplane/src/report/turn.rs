//! Metrics of TURN in OpenMetrics format.

use super::shard_report::ShardReport;
use super::text::header;
use crate::key::ShardId;
use crate::turn::{Counts, DenyReason, Transport, TransportCounts};

/// Name, type, help text, and value of a metric for one transport.
type Metric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&TransportCounts) -> u64,
);

const METRICS: [Metric; 6] = [
    (
        "turn_open_allocations",
        "gauge",
        "TURN allocations there are",
        |c| c.allocations_made - c.allocations_ended,
    ),
    (
        "turn_allocations_total",
        "counter",
        "TURN allocations that were made",
        |c| c.allocations_made,
    ),
    (
        "turn_to_peer_packets_total",
        "counter",
        "Datagrams relayed from TURN clients to peers",
        |c| c.to_peer_packets,
    ),
    (
        "turn_to_peer_bytes_total",
        "counter",
        "Their bytes, without TURN's own",
        |c| c.to_peer_bytes,
    ),
    (
        "turn_to_client_packets_total",
        "counter",
        "Datagrams relayed from peers to TURN clients",
        |c| c.to_client_packets,
    ),
    (
        "turn_to_client_bytes_total",
        "counter",
        "Their bytes, without TURN's own",
        |c| c.to_client_bytes,
    ),
];

/// Writes the TURN metrics of all shards; nothing if TURN is off.
pub(super) fn write(out: &mut String, reports: &[ShardReport]) {
    let relays: Vec<(ShardId, &Counts)> = reports
        .iter()
        .filter_map(|report| Some((report.shard, report.turn.as_deref()?)))
        .collect();
    if relays.is_empty() {
        return;
    }
    for (name, kind, help, value) in METRICS {
        header(out, name, kind, help);
        for (shard, counts) in &relays {
            for transport in Transport::ALL {
                let (label, value) = (transport.label(), value(counts.of(transport)));
                out.push_str(&format!(
                    "spillway_dataplane_{name}{{shard=\"{shard}\",transport=\"{label}\"}} {value}\n"
                ));
            }
        }
    }
    let help = "What TURN clients and their peers were refused, by reason";
    header(out, "turn_denied_total", "counter", help);
    for (shard, counts) in &relays {
        for reason in DenyReason::ALL {
            let (label, count) = (reason.label(), counts.denied(reason));
            out.push_str(&format!(
                "spillway_dataplane_turn_denied_total{{shard=\"{shard}\",reason=\"{label}\"}} {count}\n"
            ));
        }
    }
}
