//! What is counted of streams, as Prometheus reads it.

use super::{ShardReport, header};
use crate::stream::{Counts, Door, EndReason};

/// Name, kind, help, and its value.
type Metric = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

const METRICS: [Metric; 5] = [
    (
        "streams",
        "gauge",
        "Open connections over TCP and TLS",
        |c| c.open,
    ),
    (
        "stream_handshakes_total",
        "counter",
        "TLS handshakes that came to their end",
        |c| c.handshakes,
    ),
    (
        "stream_dropped_messages_total",
        "counter",
        "Messages dropped whole because the other end was behind",
        |c| c.dropped_messages,
    ),
    (
        "stream_received_bytes_total",
        "counter",
        "Bytes received over streams, without TLS",
        |c| c.bytes_in,
    ),
    (
        "stream_sent_bytes_total",
        "counter",
        "Bytes handed to the kernel for streams, with TLS",
        |c| c.bytes_out,
    ),
];

/// Adds the streams of all shards.
pub(super) fn write(out: &mut String, reports: &[ShardReport]) {
    for (name, kind, help, value) in METRICS {
        header(out, name, kind, help);
        for report in reports {
            let (shard, value) = (report.shard, value(&report.streams));
            out.push_str(&format!(
                "spillway_dataplane_{name}{{shard=\"{shard}\"}} {value}\n"
            ));
        }
    }
    let help = "Connections that came in, by what they came for";
    header(out, "streams_accepted_total", "counter", help);
    for report in reports {
        for door in Door::ALL {
            let (shard, label) = (report.shard, door.label());
            let count = report.streams.accepted(door);
            out.push_str(&format!(
                "spillway_dataplane_streams_accepted_total{{shard=\"{shard}\",door=\"{label}\"}} {count}\n"
            ));
        }
    }
    let help = "Connections that ended, by reason";
    header(out, "streams_ended_total", "counter", help);
    for report in reports {
        for reason in EndReason::ALL {
            let (shard, label) = (report.shard, reason.label());
            let count = report.streams.ended(reason);
            out.push_str(&format!(
                "spillway_dataplane_streams_ended_total{{shard=\"{shard}\",reason=\"{label}\"}} {count}\n"
            ));
        }
    }
}
