//! The resource that was exhausted when a step failed.

use std::fmt;

use crate::fanout::measure::Measurement;

/// Result of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The load was delivered within the limits.
    Passed,
    /// The step failed at this limit.
    Failed(Limit),
}

/// The limit of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// The link is full.
    Link {
        /// Carried rate, Gb/s with headers.
        carried_gbps: f64,
        /// Speed of the link in Gb/s.
        speed_gbps: f64,
    },
    /// A shard is busy all the time.
    ShardCpu {
        /// Number of the shard.
        shard: String,
        /// Fraction of the time that the shard worked.
        busy: f64,
    },
    /// A socket buffer of the data plane is full.
    SocketBuffer {
        /// Reason of the drops.
        reason: String,
        /// Number of dropped packets.
        packets: u64,
    },
    /// The load generator is the limit.
    LoadGenerator {
        /// Reason why the load generator is the limit.
        why: String,
    },
    /// Loss or latency, but no exhausted resource was found.
    Unknown,
    /// No limit: the last step passed.
    NotReached,
}

/// Maximum loss of a step that passes.
pub const MAX_LOST_FRACTION: f64 = 0.001;
/// Maximum latency (99th percentile) of a step that passes.
pub const MAX_P99_US: u64 = 5_000;
/// Maximum fraction of the load that may be delivered after the window. A server with a larger fraction is overloaded,
/// even if it loses nothing.
const MAX_BEHIND_FRACTION: f64 = 0.01;
/// A link is full at this fraction of its speed, a processor at this fraction of the time.
const FULL: f64 = 0.95;
/// A shard is full at this fraction of the time: reports are means over 250 ms, in which bursts do not reach 100 %.
const BUSY: f64 = 0.85;
const BUFFERS: [&str; 2] = ["receive_buffer_full", "send_buffer_full"];

/// Decides whether a step passed, or which limit it reached. With a `link` speed (bits per second), latency does not
/// count.
pub fn judge(m: &Measurement, link: Option<u64>) -> Verdict {
    let late = link.is_none() && m.latency_us.p99 > MAX_P99_US;
    let full = link.is_some_and(|link| m.wire_gbps * 1e9 >= FULL_LINK * link as f64);
    if !keeps_up(m) || late || (full && m.lost_packets > 0) {
        return Verdict::Failed(name(m, link));
    }
    Verdict::Passed
}

/// A link that carries this fraction of its speed and loses packets is full.
const FULL_LINK: f64 = 0.99;

/// True when the load was delivered within the window, regardless of latency.
pub fn keeps_up(m: &Measurement) -> bool {
    m.lost_fraction <= MAX_LOST_FRACTION
        && m.delivered_pps >= m.sent_pps * (1.0 - MAX_BEHIND_FRACTION)
}

fn name(m: &Measurement, link: Option<u64>) -> Limit {
    let speed_gbps = link.map_or(f64::INFINITY, |link| link as f64 / 1e9);
    if m.wire_gbps >= FULL * speed_gbps {
        let carried_gbps = m.wire_gbps;
        return Limit::Link {
            carried_gbps,
            speed_gbps,
        };
    }
    let busiest = m.shard_busy.iter().max_by(|a, b| a.1.total_cmp(b.1));
    if let Some((shard, busy)) = busiest.filter(|(_, busy)| **busy >= BUSY) {
        return Limit::ShardCpu {
            shard: shard.clone(),
            busy: *busy,
        };
    }
    if let Some(why) = m.load_generator_limits.first() {
        return Limit::LoadGenerator { why: why.clone() };
    }
    let buffers = m
        .dataplane_drops
        .iter()
        .filter(|(reason, _)| BUFFERS.contains(&reason.as_str()));
    match buffers.max_by_key(|(_, packets)| **packets) {
        Some((reason, packets)) => Limit::SocketBuffer {
            reason: reason.clone(),
            packets: *packets,
        },
        None => Limit::Unknown,
    }
}

impl Limit {
    /// Name of the limit, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Link { .. } => "link",
            Self::ShardCpu { .. } => "shard_cpu",
            Self::SocketBuffer { .. } => "socket_buffer",
            Self::LoadGenerator { .. } => "load_generator",
            Self::Unknown => "unknown",
            Self::NotReached => "not_reached",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link {
                carried_gbps,
                speed_gbps,
            } => write!(f, "the link: {carried_gbps:.3} of {speed_gbps} Gb/s"),
            Self::ShardCpu { shard, busy } => {
                write!(
                    f,
                    "the CPU of shard {shard}: busy {:.0} % of the time",
                    busy * 100.0
                )
            }
            Self::SocketBuffer { reason, packets } => {
                write!(f, "a socket buffer: {packets} packets dropped ({reason})")
            }
            Self::LoadGenerator { why } => write!(f, "the load generator: {why}"),
            Self::Unknown => {
                f.write_str("unknown: packets were lost or late, and nothing was full")
            }
            Self::NotReached => f.write_str("not reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(change: impl FnOnce(&mut Measurement)) -> Measurement {
        let mut m = Measurement {
            wire_gbps: 0.5,
            ..Measurement::default()
        };
        m.shard_busy.insert("0".into(), 0.5);
        change(&mut m);
        m
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed(limit) => limit.word(),
        }
    }

    #[test]
    fn the_limit_is_what_was_full() {
        let lose = |m: &mut Measurement| m.lost_fraction = 0.01;
        let gbit = Some(1_000_000_000);
        let cases = [
            (measured(|_| ()), None, "passed"),
            (measured(|m| m.latency_us.p99 = 6_000), None, "unknown"),
            (measured(|m| m.latency_us.p99 = 6_000), gbit, "passed"),
            (measured(lose), None, "unknown"),
            (
                measured(|m| (m.sent_pps, m.delivered_pps) = (100.0, 98.0)),
                None,
                "unknown",
            ),
            (
                measured(|m| (m.sent_pps, m.delivered_pps) = (100.0, 99.5)),
                None,
                "passed",
            ),
            (
                measured(|m| (m.wire_gbps, m.lost_fraction) = (0.98, 0.01)),
                gbit,
                "link",
            ),
            (
                measured(|m| (m.wire_gbps, m.lost_packets) = (0.995, 1)),
                gbit,
                "link",
            ),
            (
                measured(|m| {
                    lose(m);
                    m.shard_busy.insert("1".into(), 0.97);
                    m.load_generator_limits.push("late".into());
                }),
                None,
                "shard_cpu",
            ),
            (
                measured(|m| {
                    lose(m);
                    m.load_generator_limits.push("late".into());
                }),
                None,
                "load_generator",
            ),
            (
                measured(|m| {
                    lose(m);
                    m.dataplane_drops.insert("send_buffer_full".into(), 9);
                    m.dataplane_drops.insert("no_track".into(), 99);
                }),
                None,
                "socket_buffer",
            ),
        ];
        for (m, link, expected) in cases {
            assert_eq!(word(&judge(&m, link)), expected, "{m:?}");
        }
    }
}
