//! The steps of a saturation run, and the results.

use serde::Serialize;

use super::limit::{Limit, keeps_up};
use crate::fanout::measure::{Measurement, Percentiles};
use crate::host::facts::Facts;

/// A load, and its measured values.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// True when the step had no loss and low latency.
    pub passed: bool,
    /// Measured values of the step.
    #[serde(flatten)]
    pub measurement: Measurement,
}

/// All steps of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// Steps in order of their subscribers.
    pub steps: Vec<Step>,
    /// Name of the limit, for programs.
    pub limit: &'static str,
    /// The limit as text.
    pub limit_text: String,
    /// Delivered datagrams per second of plain `sendmmsg` in the same run.
    pub ceiling_sendmmsg_pps: Option<f64>,
    /// Speed of the link, if given.
    pub link_bps: Option<u64>,
    /// Description of a publisher's media.
    pub media: String,
    /// Number of participants that send.
    pub publishers: u32,
    /// The server under test.
    pub server: &'static str,
    /// The host under test, if known.
    pub host: Option<Facts>,
    /// The host of the load.
    pub load_host: Facts,
    /// The command line of the run.
    pub command: String,
}

/// The printed JSON line: the best step and the result of the run.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    bench: &'static str,
    limit: &'static str,
    limit_text: &'a str,
    lossless_subscribers: usize,
    publishers: u32,
    media: &'a str,
    #[serde(flatten)]
    best: Option<&'a Measurement>,
    ceiling_sendmmsg_pps: Option<f64>,
    peak_delivered_pps: Option<f64>,
    ratio_to_ceiling: Option<f64>,
    peak_ratio_to_ceiling: Option<f64>,
    link_bps: Option<u64>,
    steps: Vec<Point>,
    host: &'a Option<Facts>,
    load_host: &'a Facts,
    command: &'a str,
}

/// A step in short.
#[derive(Debug, Serialize)]
struct Point {
    subscribers: usize,
    passed: bool,
    delivered_pps: f64,
    delivered_gbps: f64,
    lost_fraction: f64,
    cpu_ns_per_packet: Option<f64>,
    latency: Percentiles,
}

impl Curve {
    /// A curve of `steps`, sorted by subscribers.
    pub fn new(
        steps: Vec<Step>,
        limit: Limit,
        ceiling: Option<f64>,
        link_bps: Option<u64>,
    ) -> Self {
        Self {
            steps,
            limit: limit.word(),
            limit_text: limit.to_string(),
            ceiling_sendmmsg_pps: ceiling,
            link_bps,
            media: String::new(),
            publishers: 0,
            server: "",
            host: None,
            load_host: Facts::default(),
            command: String::new(),
        }
    }

    /// Media, publishers, server and command of the run.
    pub fn described(self, media: String, publishers: u32, server: &'static str) -> Self {
        Self {
            media,
            publishers,
            server,
            ..self
        }
    }

    /// Adds hosts and command.
    pub fn on(self, host: Option<Facts>, load_host: Facts, command: String) -> Self {
        Self {
            host,
            load_host,
            command,
            ..self
        }
    }

    /// Steps for the chart: for each number of subscribers the step with the highest load; of several tries with this
    /// load, a passed one. The table has all steps.
    pub fn shown(&self) -> Vec<Step> {
        let mut shown: Vec<&Step> = Vec::new();
        for step in &self.steps {
            match shown.last_mut() {
                Some(last) if last.measurement.subscribers == step.measurement.subscribers => {
                    let (new, old) = (step.measurement.sent_pps, last.measurement.sent_pps);
                    let is_more = new > old * TRIES_DIFFER;
                    let is_same = new > old / TRIES_DIFFER;
                    if is_more || (is_same && step.passed >= last.passed) {
                        *last = step;
                    }
                }
                Some(_) | None => shown.push(step),
            }
        }
        shown.into_iter().cloned().collect()
    }

    /// The largest load that was carried.
    pub fn best(&self) -> Option<&Measurement> {
        let passed = self.steps.iter().filter(|step| step.passed);
        passed
            .map(|step| &step.measurement)
            .max_by_key(|m| m.subscribers)
    }

    /// Maximum number of packets per second that were delivered without loss, at any latency.
    pub fn peak_pps(&self) -> Option<f64> {
        let measured = self.steps.iter().map(|step| &step.measurement);
        let kept_up = measured.filter(|m| keeps_up(m)).map(|m| m.delivered_pps);
        kept_up.max_by(f64::total_cmp)
    }

    /// Ratio of the packet rate of the best step (no loss, low latency) to the ceiling.
    pub fn ratio_to_ceiling(&self) -> Option<f64> {
        Some(self.best()?.delivered_pps / self.ceiling_sendmmsg_pps?)
    }

    /// Ratio of the peak to the ceiling; latency does not count for either of them.
    pub fn peak_ratio_to_ceiling(&self) -> Option<f64> {
        Some(self.peak_pps()? / self.ceiling_sendmmsg_pps?)
    }

    /// The JSON line of the run.
    pub fn line(&self) -> Line<'_> {
        let lossless = self
            .steps
            .iter()
            .filter(|step| step.passed && step.measurement.lost_packets == 0);
        let points = self.steps.iter().map(
            |Step {
                 passed,
                 measurement: m,
             }| Point {
                subscribers: m.subscribers,
                passed: *passed,
                delivered_pps: m.delivered_pps,
                delivered_gbps: m.delivered_gbps,
                lost_fraction: m.lost_fraction,
                cpu_ns_per_packet: m.cpu_ns_per_packet,
                latency: m.latency_us,
            },
        );
        Line {
            bench: "saturate",
            limit: self.limit,
            limit_text: &self.limit_text,
            lossless_subscribers: lossless
                .map(|step| step.measurement.subscribers)
                .max()
                .unwrap_or(0),
            publishers: self.publishers,
            media: &self.media,
            best: self.best(),
            ceiling_sendmmsg_pps: self.ceiling_sendmmsg_pps,
            peak_delivered_pps: self.peak_pps(),
            ratio_to_ceiling: self.ratio_to_ceiling(),
            peak_ratio_to_ceiling: self.peak_ratio_to_ceiling(),
            link_bps: self.link_bps,
            steps: points.collect(),
            host: &self.host,
            load_host: &self.load_host,
            command: &self.command,
        }
    }
}

/// Tries of the same load do not differ by this factor.
const TRIES_DIFFER: f64 = 1.01;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A curve with a step over its end.
    pub(crate) fn example() -> Curve {
        let step = |subscribers: usize, passed| {
            let mut m = Measurement {
                subscribers,
                delivered_pps: subscribers as f64 * 220.0,
                delivered_gbps: subscribers as f64 * 0.002,
                cpu_ns_per_packet: Some(900.0),
                lost_packets: if passed { 0 } else { 500 },
                lost_fraction: if passed { 0.0 } else { 0.02 },
                load_generator_busy: 0.4,
                ..Measurement::default()
            };
            m.latency_us = Percentiles {
                p50: 300,
                p99: 900 + subscribers as u64,
                p999: 4_000,
                max: 9_000,
            };
            m.shard_busy
                .insert("0".into(), subscribers as f64 / 2_000.0);
            Step {
                passed,
                measurement: m,
            }
        };
        let limit = Limit::ShardCpu {
            shard: "0".into(),
            busy: 0.98,
        };
        let mut late = step(1_200, false);
        (
            late.measurement.lost_packets,
            late.measurement.lost_fraction,
        ) = (0, 0.0);
        let steps = vec![step(100, true), step(900, true), late, step(1_900, false)];
        Curve::new(steps, limit, Some(100_000.0), None)
            .described("VP8 2 Mb/s <30 frames/s>".into(), 50, "spillway")
            .on(
                None,
                Facts::default(),
                "scripts/bench saturate & more".into(),
            )
    }

    #[test]
    fn a_picture_shows_one_step_for_each_number_of_subscribers() {
        let mut curve = example();
        let step = |sent_pps, passed| {
            let mut step = curve.steps[1].clone();
            (step.measurement.sent_pps, step.passed) = (sent_pps, passed);
            step
        };
        // Silenced publishers, a try that failed, and the one that passed.
        curve.steps = vec![
            step(900.0, true),
            step(1_000.0, false),
            step(1_001.0, true),
            step(950.0, true),
        ];
        let shown = curve.shown();
        assert_eq!(shown.len(), 1);
        assert!(shown[0].passed && (shown[0].measurement.sent_pps - 1_001.0).abs() < 0.1);
    }

    #[test]
    fn the_line_tells_the_best_step_and_the_limit() {
        let json = serde_json::to_value(example().line()).unwrap();
        assert_eq!(json["subscribers"], 900);
        assert_eq!(json["lossless_subscribers"], 900);
        assert_eq!(json["limit"], "shard_cpu");
        assert!((json["ratio_to_ceiling"].as_f64().unwrap() - 1.98).abs() < 1e-9);
        assert!((json["peak_ratio_to_ceiling"].as_f64().unwrap() - 2.64).abs() < 1e-9);
        for key in [
            "sent_pps",
            "delivered_pps",
            "delivered_gbps",
            "lost_fraction",
            "dataplane_cpu_seconds",
            "cpu_ns_per_packet",
            "run_length_mean",
            "ceiling_sendmmsg_pps",
            "rss_bytes_per_subscriber",
            "load_generator_limited",
            "command",
        ] {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        for key in ["p50", "p99", "p999", "max"] {
            assert!(json["latency_us"][key].is_u64(), "{key}");
        }
    }
}
