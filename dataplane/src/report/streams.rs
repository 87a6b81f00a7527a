//! Metrics of TCP and TLS streams, and of the certificate, in OpenMetrics format.

use super::shard_report::ShardReport;
use super::text::header;
use crate::stream::{Counts, EndReason, ListenerKind, Renewals};

/// Name, type, help text, and value of a metric.
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

/// Name, type, help text, and value of a metric of the certificate.
type OfCertificate = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Renewals) -> u64,
);

const OF_CERTIFICATE: [OfCertificate; 3] = [
    (
        "tls_certificate_expires_timestamp_seconds",
        "gauge",
        "Unix time at which the certificate that is served ends",
        Renewals::ends_at_s,
    ),
    (
        "tls_reloads_total",
        "counter",
        "Certificates swapped while serving",
        Renewals::done,
    ),
    (
        "tls_reload_failures_total",
        "counter",
        "New certificates that could not be used",
        Renewals::failed,
    ),
];

/// Writes the stream metrics of all shards.
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
        for kind in ListenerKind::ALL {
            let (shard, label) = (report.shard, kind.label());
            let count = report.streams.accepted(kind);
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
    certificate(out, reports);
}

/// Writes the metrics of the certificate, which all shards share; nothing without TLS.
fn certificate(out: &mut String, reports: &[ShardReport]) {
    let mut all = reports.iter();
    let Some(renewals) = all.find_map(|report| report.streams.renewals.as_deref()) else {
        return;
    };
    for (name, kind, help, value) in OF_CERTIFICATE {
        header(out, name, kind, help);
        let value = value(renewals);
        out.push_str(&format!("spillway_dataplane_{name} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spillway_certificate::Observer;

    use super::*;
    use crate::key::ShardId;
    use crate::report::open_metrics;

    #[test]
    fn the_certificate_is_shown_once_and_only_where_there_is_one() {
        let mut reports = [0, 1].map(|shard| ShardReport::new(ShardId(shard)));
        let without = open_metrics(&reports);
        assert!(!without.contains("_tls_"), "{without}");
        let renewals = Arc::new(Renewals::default());
        renewals.ends_at(4_136_832_000);
        renewals.renewed();
        renewals.refused();
        renewals.refused();
        for report in &mut reports {
            report.streams.renewals = Some(Arc::clone(&renewals));
        }
        let text = open_metrics(&reports);
        for line in [
            "spillway_dataplane_tls_certificate_expires_timestamp_seconds 4136832000",
            "# TYPE spillway_dataplane_tls_certificate_expires_timestamp_seconds gauge",
            "spillway_dataplane_tls_reloads_total 1",
            "# TYPE spillway_dataplane_tls_reloads counter",
            "spillway_dataplane_tls_reload_failures_total 2",
        ] {
            let shown = text.lines().filter(|got| *got == line).count();
            assert_eq!(shown, 1, "{line} in\n{text}");
        }
    }
}
