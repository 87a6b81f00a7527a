//! Sums of the results of each TURN server, and their ratios.

use serde::Serialize;

use super::relay::{Window, latencies};
use super::storm::Cycles;
use crate::fanout::measure::Measurement;

/// Completed work and its cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Work {
    /// Number of measured turns.
    pub runs: usize,
    /// Requested amount of work.
    pub asked: u64,
    /// Packets or allocations that were completed.
    pub done: u64,
    /// Work that was lost, or done only after a retry.
    pub lost: u64,
    /// CPU time (user and system) of the measured processes, in seconds.
    pub cpu_seconds: f64,
    /// Completed work per second of CPU.
    pub per_cpu_second: f64,
    /// CPU time per completed item, in ns.
    pub cpu_ns_each: f64,
}

/// Percentiles of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// 50th percentile in microseconds.
    pub p50: f64,
    /// 99th percentile in microseconds.
    pub p99: f64,
}

/// Reason why two results cannot be compared.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unequal {
    /// The servers did different amounts of work.
    #[error(
        "what was done differs by {percent:.2} %, more than {MAX_DIFFERENCE_PERCENT} %: spillway {spillway}, coturn {coturn}"
    )]
    Done {
        /// Difference in percent of the larger number.
        percent: f64,
        /// Packets or allocations of Spillway.
        spillway: u64,
        /// Packets or allocations of coturn.
        coturn: u64,
    },
    /// No work was done, or its cost could not be measured.
    #[error("{0} did nothing or used no processor time that could be measured: measure for longer")]
    Nothing(&'static str),
}

const MAX_DIFFERENCE_PERCENT: f64 = 2.0;
/// Resolution of /proc/PID/stat; the scheduler's account, if there is one, is finer.
const CPU_RESOLUTION_S: f64 = 0.01;

impl Work {
    /// Packets relayed to a peer and back.
    pub fn relayed(name: &'static str, windows: &[Window]) -> Result<Self, Unequal> {
        let each = windows.iter();
        Self::of(
            name,
            each.map(|window| (window.sent, window.delivered, window.cpu_seconds)),
        )
    }

    /// Sum of allocations that were made and ended.
    pub fn allocated(name: &'static str, storms: &[Cycles]) -> Result<Self, Unequal> {
        let each = storms.iter();
        let sum = Self::of(
            name,
            each.map(|storm| (storm.allocations, storm.allocations, storm.cpu_seconds)),
        )?;
        let lost = storms.iter().map(|storm| storm.repeated).sum();
        Ok(Self { lost, ..sum })
    }

    /// Media packets of a call.
    pub fn called(name: &'static str, calls: &[Measurement]) -> Result<Self, Unequal> {
        let each = calls.iter().map(|call| {
            let delivered = call.delivered_packets;
            let cpu_seconds = call.dataplane_cpu_seconds.unwrap_or(0.0);
            (delivered + call.lost_packets, delivered, cpu_seconds)
        });
        Self::of(name, each)
    }

    fn of(
        name: &'static str,
        runs: impl ExactSizeIterator<Item = (u64, u64, f64)>,
    ) -> Result<Self, Unequal> {
        let count = runs.len();
        let add = |sum: (u64, u64, f64), run: (u64, u64, f64)| {
            (sum.0 + run.0, sum.1 + run.1, sum.2 + run.2)
        };
        let (asked, done, cpu_seconds) = runs.fold((0, 0, 0.0), add);
        if done == 0 || cpu_seconds <= 0.0 {
            return Err(Unequal::Nothing(name));
        }
        Ok(Self {
            runs: count,
            asked,
            done,
            lost: asked.saturating_sub(done),
            cpu_seconds,
            per_cpu_second: done as f64 / cpu_seconds,
            cpu_ns_each: cpu_seconds * 1e9 / done as f64,
        })
    }

    /// The additional cost over `other`, the same work without a relay; `None` when the difference is too small to be
    /// measured.
    pub fn beyond(&self, other: &Self) -> Option<Self> {
        let each = self.cpu_ns_each - other.cpu_ns_each;
        let cpu_seconds = each * self.done as f64 / 1e9;
        // CPU time is read twice per run, for both results.
        let least = 2.0 * self.runs as f64 * CPU_RESOLUTION_S;
        (cpu_seconds > least).then(|| Self {
            cpu_seconds,
            per_cpu_second: self.done as f64 / cpu_seconds,
            cpu_ns_each: each,
            ..*self
        })
    }

    /// Ratio of work per second to `other`.
    pub fn ratio_to(&self, other: &Self) -> Result<f64, Unequal> {
        let (spillway, coturn) = (self.done, other.done);
        let percent = spillway.abs_diff(coturn) as f64 * 100.0 / spillway.max(coturn) as f64;
        if percent > MAX_DIFFERENCE_PERCENT {
            return Err(Unequal::Done {
                percent,
                spillway,
                coturn,
            });
        }
        Ok(self.per_cpu_second / other.per_cpu_second)
    }
}

impl Latency {
    /// Sum of all `windows`.
    pub fn of(windows: &[Window]) -> Self {
        let mut all = latencies();
        for window in windows {
            all.add(&window.latency_ns)
                .expect("all have the same bounds");
        }
        let us = |part| all.value_at_quantile(part) as f64 / 1e3;
        Self {
            p50: us(0.5),
            p99: us(0.99),
        }
    }

    /// Latency added to `direct`; zero if noise makes it negative.
    pub fn beyond(&self, direct: &Self) -> Self {
        Self {
            p50: (self.p50 - direct.p50).max(0.0),
            p99: (self.p99 - direct.p99).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(delivered: u64, cpu_seconds: f64, latency_us: u64) -> Window {
        let mut latency_ns = latencies();
        latency_ns.record(latency_us * 1_000).unwrap();
        Window {
            sent: 1_000,
            delivered,
            delivered_to_peer: delivered / 2,
            cpu_seconds,
            latency_ns,
            late: Duration::ZERO,
        }
    }

    #[test]
    fn a_ratio_is_of_equal_work() {
        let of = |name, windows: &[Window]| Work::relayed(name, windows);
        let ours = of(
            "spillway",
            &[window(1_000, 0.1, 50), window(1_000, 0.1, 60)],
        )
        .unwrap();
        assert_eq!((ours.done, ours.lost, ours.runs), (2_000, 0, 2));
        assert!((ours.cpu_ns_each - 100_000.0).abs() < 1e-6);
        let theirs = of("coturn", &[window(1_000, 0.4, 90), window(990, 0.396, 90)]).unwrap();
        assert_eq!(theirs.lost, 10);
        let ratio = ours.ratio_to(&theirs).unwrap();
        assert!((ratio - 4.0).abs() < 1e-2, "{ratio}");
        let less = of("coturn", &[window(900, 0.4, 90), window(900, 0.4, 90)]).unwrap();
        let refused = ours.ratio_to(&less).unwrap_err().to_string();
        assert!(
            refused.contains("10.00 %") && refused.contains("coturn 1800"),
            "{refused}"
        );
        assert_eq!(of("coturn", &[]), Err(Unequal::Nothing("coturn")));
        assert_eq!(
            of("coturn", &[window(9, 0.0, 1)]),
            Err(Unequal::Nothing("coturn"))
        );
    }

    #[test]
    fn what_relaying_takes_is_what_the_work_takes_beyond_the_same_without() {
        let of = |cpu_seconds| Work::relayed("spillway", &[window(1_000, cpu_seconds, 1)]).unwrap();
        let relaying = of(0.5).beyond(&of(0.2)).unwrap();
        assert!((relaying.cpu_seconds - 0.3).abs() < 1e-9);
        assert!((relaying.per_cpu_second - 1_000.0 / 0.3).abs() < 1e-6);
        assert_eq!(of(0.2).beyond(&of(0.21)), None, "noise is no figure");
        assert_eq!(of(0.215).beyond(&of(0.2)), None, "nor is a tick");
    }

    #[test]
    fn latency_is_of_all_windows_and_never_less_than_nothing() {
        let direct = Latency::of(&[window(1, 1.0, 10), window(1, 1.0, 30)]);
        assert!((direct.p50 - 10.0).abs() < 0.1 && (direct.p99 - 30.0).abs() < 0.1);
        let through = Latency::of(&[window(1, 1.0, 25)]);
        let added = through.beyond(&direct);
        assert!((added.p50 - 15.0).abs() < 0.2, "{added:?}");
        assert_eq!(added.p99, 0.0);
    }
}
