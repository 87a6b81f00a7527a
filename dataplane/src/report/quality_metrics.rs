//! Metrics of call quality in OpenMetrics format.

use super::quality::{BUCKETS, Buckets, KINDS};
use super::shard_report::ShardReport;
use super::text::{header, histogram};

/// Writes the quality histograms of all shards.
pub(super) fn write(out: &mut String, reports: &[ShardReport]) {
    for (kind, (name, help, bounds)) in KINDS.iter().enumerate() {
        header(out, name, "histogram", help);
        for report in reports {
            let Buckets { counts, sum } = report.quality.0[kind];
            let bounds = bounds.iter().map(ToString::to_string);
            let buckets = bounds.zip(counts).collect();
            histogram(out, (name, report.shard), buckets, (counts[BUCKETS], sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::ShardId;
    use crate::report::quality::Sample;

    #[test]
    fn samples_fall_into_the_buckets_of_their_kind() {
        let mut report = ShardReport::new(ShardId(1));
        let ms = Duration::from_millis;
        for sample in [
            Sample::FirstFrame(ms(90)),
            Sample::FirstFrame(ms(60_000)),
            Sample::Freeze(ms(25)),
            Sample::Loss(0.0),
            Sample::Loss(0.25),
            Sample::Rtt(ms(40)),
            Sample::Estimate(125_000.0),
        ] {
            report.quality.record(sample);
        }
        let mut text = String::new();
        write(&mut text, &[report]);
        for line in [
            "first_frame_seconds_bucket{shard=\"1\",le=\"0.05\"} 0",
            "first_frame_seconds_bucket{shard=\"1\",le=\"0.1\"} 1",
            "first_frame_seconds_bucket{shard=\"1\",le=\"12.8\"} 1",
            "first_frame_seconds_count{shard=\"1\"} 2",
            "freeze_seconds_bucket{shard=\"1\",le=\"0.025\"} 1",
            "subscriber_loss_ratio_bucket{shard=\"1\",le=\"0\"} 1",
            "subscriber_loss_ratio_bucket{shard=\"1\",le=\"0.3\"} 2",
            "subscriber_loss_ratio_sum{shard=\"1\"} 0.25",
            "rtt_seconds_bucket{shard=\"1\",le=\"0.05\"} 1",
            "estimate_bytes_per_second_bucket{shard=\"1\",le=\"200000\"} 1",
        ] {
            let line = format!("spillway_dataplane_{line}");
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in {text}"
            );
        }
    }
}
