//! Measures one window of time. Publishers are silent before and after the window. So every packet of the window has
//! either arrived or is lost when the results are computed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::farm::Farm;
use super::metrics::{Watched, Watcher};
use super::tally::Totals;
use crate::host::HostUnderTest;
use crate::host::facts::Facts;
use crate::host::process::Usage;

/// Sources of data about the server under test.
pub struct System {
    /// The host under test, if an agent runs there.
    pub host: Option<HostUnderTest>,
    /// Address of the system's metrics.
    pub metrics: Option<SocketAddr>,
}

/// Results of a window.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Measurement {
    /// Number of participants that received.
    pub subscribers: usize,
    /// Length of the window.
    pub seconds: f64,
    /// Packets that subscribers should have received, per second.
    pub sent_pps: f64,
    /// Media packets that arrived in the window, per second; no retransmissions, no duplicates.
    pub delivered_pps: f64,
    /// Media packets that arrived, in the window or soon after.
    pub delivered_packets: u64,
    /// Gigabits of UDP payload that arrived, per second.
    pub delivered_gbps: f64,
    /// The rate with UDP, IP and Ethernet headers, as on a link.
    pub wire_gbps: f64,
    /// Fraction of the packets that never arrived.
    pub lost_fraction: f64,
    /// Packets that never arrived.
    pub lost_packets: u64,
    /// Number of subscribers that lost at least one packet.
    pub subscribers_with_loss: usize,
    /// Packets that arrived twice.
    pub duplicates: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
    /// Datagrams of retransmission and probing.
    pub rtx_packets: u64,
    /// CPU time (user and system) of the server in the window and until its last packet arrived. Without the kernel's
    /// work in interrupts, which cannot be attributed to a process.
    pub dataplane_cpu_seconds: Option<f64>,
    /// CPU time per delivered packet, in ns.
    pub cpu_ns_per_packet: Option<f64>,
    /// Mean number of datagrams per message that the data plane sent.
    pub run_length_mean: Option<f64>,
    /// Fraction of these messages that were sent as Ethernet frames (egress packet).
    pub framed_fraction: Option<f64>,
    /// Latency of the decrypted sample, from the publisher's send to the kernel's receipt at a subscriber.
    pub latency_us: Percentiles,
    /// Median of the 99th percentiles of each second, which is not affected by short stops of the host.
    pub latency_typical_p99_us: u64,
    /// Latency of the listeners of calls.
    pub calls_latency_us: Option<Percentiles>,
    /// Packets decrypted and checked byte for byte.
    pub checked_packets: u64,
    /// Number of damaged packets.
    pub damaged_packets: u64,
    /// Resident memory of the server that each subscriber added.
    pub rss_bytes_per_subscriber: Option<f64>,
    /// Fraction of the time that each shard worked.
    pub shard_busy: BTreeMap<String, f64>,
    /// Packets that the data plane dropped in the window, by reason.
    pub dataplane_drops: BTreeMap<String, u64>,
    /// True if the load generator was the limit, so that the results do not describe the server.
    pub load_generator_limited: bool,
    /// Reasons why the load generator was the limit.
    pub load_generator_limits: Vec<String>,
    /// Fraction of the time that the load generator worked.
    pub load_generator_busy: f64,
    /// Delay of publishers against their schedule.
    pub publisher_late_us: Percentiles,
    /// Participants that failed, with the reasons.
    pub lost_sessions: Vec<String>,
    #[serde(skip)]
    pub(crate) datagrams: u64,
    #[serde(skip)]
    pub(crate) bytes: u64,
    #[serde(skip)]
    pub(crate) rtx_bytes: u64,
    #[serde(skip)]
    pub(crate) rss_bytes: Option<u64>,
}

/// Percentiles of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// 50th percentile of the samples.
    pub p50: u64,
    /// 99 of 100 are smaller.
    pub p99: u64,
    /// 999 of 1,000 are smaller.
    pub p999: u64,
    /// Largest of the samples.
    pub max: u64,
}

/// Ethernet, IPv4 and UDP headers.
pub const WIRE_OVERHEAD_BYTES: u64 = 14 + 20 + 8;
/// Maximum wait until every subscriber receives media.
const MEDIA_LIMIT: Duration = Duration::from_secs(15);
/// Time after the last packet until the network counts as silent.
const QUIET: Duration = Duration::from_millis(200);
/// Maximum wait for silence: a server that still sends is overloaded.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
const SLICE: Duration = Duration::from_millis(20);
const BUSY_LIMIT: f64 = 0.95;
const LATE_LIMIT: Duration = Duration::from_millis(20);

impl System {
    /// Usage of the server so far.
    pub fn usage(&mut self) -> anyhow::Result<Option<Usage>> {
        self.host.as_mut().map(HostUnderTest::usage).transpose()
    }

    /// Hardware and kernel of the server's host.
    pub fn facts(&mut self) -> anyhow::Result<Option<Facts>> {
        self.host.as_mut().map(HostUnderTest::facts).transpose()
    }
}

/// Measures `time` of media of the first `active` publishers.
pub fn measure(
    farm: &mut Farm,
    system: &mut System,
    time: Duration,
    active: usize,
) -> anyhow::Result<Measurement> {
    wait_for_media(farm, active)?;
    farm.stop_media();
    drain(farm)?;

    farm.restart_counting();
    let made: Vec<u64> = (0..farm.publishers)
        .map(|publisher| farm.made(publisher))
        .collect();
    let (overflowed, backlog) = (farm.overflowed(), backlog_drops());
    let before = system.usage()?;
    let watcher = system.metrics.map(Watcher::start).transpose()?;
    let start = Instant::now();
    farm.start_media(active);
    farm.run(start + time)?;
    farm.stop_media();
    let seconds = start.elapsed().as_secs_f64();
    let waited = farm.own.waited;
    // Packets that a slow server sends after the window do not count for its rate.
    let in_window = totals(farm);
    watcher.iter().for_each(Watcher::pause);
    drain(farm)?;
    let after = system.usage()?;
    let watched = match (watcher, system.metrics) {
        (Some(watcher), Some(metrics)) => Some(watcher.finish(metrics)?),
        (None, _) | (_, None) => None,
    };

    let mut m = Measurement {
        subscribers: watching(farm, active).count(),
        seconds,
        load_generator_busy: 1.0 - (waited.as_secs_f64() / seconds).min(1.0),
        ..Measurement::default()
    };
    m.count(farm, &made);
    m.set_rates(&in_window);
    m.note_usage(before, after);
    if let Some(watched) = &watched {
        m.note_metrics(watched);
    }
    m.note_own(
        farm,
        farm.overflowed().wrapping_sub(overflowed),
        backlog_drops() - backlog,
    );
    Ok(m)
}

/// Subscribers with an active publisher.
fn watching(farm: &Farm, active: usize) -> impl Iterator<Item = usize> + '_ {
    let watches = move |number: usize| farm.watched(number).any(|publisher| publisher < active);
    (0..farm.subscribers()).filter(move |number| watches(*number))
}

fn wait_for_media(farm: &mut Farm, active: usize) -> anyhow::Result<()> {
    farm.start_media(active);
    let give_up = Instant::now() + MEDIA_LIMIT;
    loop {
        farm.run(Instant::now() + 10 * SLICE)?;
        let lacks = |number: &usize| {
            let due = farm
                .watched(*number)
                .filter(|publisher| *publisher < active);
            farm.received()[*number].streams() < due.count()
        };
        let without = watching(farm, active).filter(lacks).count();
        if without == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < give_up,
            "after {MEDIA_LIMIT:?} {without} of {} subscribers lack media",
            farm.subscribers()
        );
    }
}

/// Receives until no packet comes for a while.
fn drain(farm: &mut Farm) -> anyhow::Result<()> {
    let give_up = Instant::now() + DRAIN_LIMIT;
    let (mut last, mut quiet_since) = (datagrams(farm), Instant::now());
    while quiet_since.elapsed() < QUIET && Instant::now() < give_up {
        farm.run(Instant::now() + SLICE)?;
        let now = datagrams(farm);
        if now != last {
            (last, quiet_since) = (now, Instant::now());
        }
    }
    Ok(())
}

fn datagrams(farm: &Farm) -> u64 {
    farm.received()
        .iter()
        .map(|received| received.datagrams)
        .sum()
}

fn totals(farm: &Farm) -> Totals {
    let mut totals = Totals::default();
    farm.received()
        .iter()
        .for_each(|received| received.add_to(&mut totals));
    totals
}

/// Packets that this host dropped between device and sockets: the second column of /proc/net/softnet_stat, in
/// hexadecimal.
fn backlog_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let second = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(1));
    second
        .filter_map(|number| u64::from_str_radix(number, 16).ok())
        .sum()
}

impl Measurement {
    /// Mean size of the delivered datagrams: UDP payload.
    pub fn mean_datagram_bytes(&self) -> Option<u16> {
        u16::try_from(self.bytes.checked_div(self.datagrams)?).ok()
    }

    /// Bytes of UDP payload of delivered media, without retransmissions.
    pub fn delivered_bytes(&self) -> u64 {
        self.bytes - self.rtx_bytes
    }

    /// Sets the memory per subscriber, from the usage `empty` before they were added.
    pub fn set_memory(&mut self, empty: Option<Usage>) {
        if let (Some(empty), Some(full)) = (empty, self.rss_bytes) {
            let grown = full.saturating_sub(empty.rss_bytes);
            self.rss_bytes_per_subscriber = Some(grown as f64 / self.subscribers.max(1) as f64);
        }
    }

    fn count(&mut self, farm: &Farm, made_before: &[u64]) {
        let totals = totals(farm);
        let (mut expected, mut lost) = (0, 0);
        for (number, received) in farm.received().iter().enumerate() {
            let mut own = Totals::default();
            received.add_to(&mut own);
            let sent: u64 = farm
                .watched(number)
                .map(|index| farm.made(index) - made_before[index])
                .sum();
            // The server chooses the layers of a subscriber, so only gaps count as losses.
            let should = if farm.load().layers {
                own.packets + own.gaps
            } else {
                sent
            };
            expected += should;
            let missing = should.saturating_sub(own.packets).max(own.gaps);
            lost += missing;
            self.subscribers_with_loss += usize::from(missing > 0);
        }
        self.sent_pps = expected as f64 / self.seconds;
        self.delivered_packets = totals.packets;
        self.lost_packets = lost;
        self.lost_fraction = lost as f64 / (expected as f64).max(1.0);
        self.duplicates = totals.duplicates;
        self.reordered = totals.reordered;
        self.rtx_packets = totals.rtx;
        (self.datagrams, self.bytes) = (totals.datagrams, totals.bytes);
        self.rtx_bytes = totals.rtx_bytes;
        self.latency_us = Percentiles::of(&farm.sample.latency_us);
        self.latency_typical_p99_us = farm.sample.typical_p99_us();
        let (sample, calls) = (&farm.sample, &farm.sample_of_calls);
        self.calls_latency_us = (farm.load().calls > 0).then(|| Percentiles::of(&calls.latency_us));
        self.checked_packets = sample.checked + calls.checked;
        self.damaged_packets = sample.damaged + calls.damaged;
    }

    fn set_rates(&mut self, in_window: &Totals) {
        let wire = in_window.bytes + in_window.datagrams * WIRE_OVERHEAD_BYTES;
        self.delivered_pps = in_window.packets as f64 / self.seconds;
        self.delivered_gbps = in_window.bytes as f64 * 8e-9 / self.seconds;
        self.wire_gbps = wire as f64 * 8e-9 / self.seconds;
    }

    fn note_usage(&mut self, before: Option<Usage>, after: Option<Usage>) {
        if let (Some(before), Some(after)) = (before, after) {
            let cpu = after.cpu_seconds - before.cpu_seconds;
            self.dataplane_cpu_seconds = Some(cpu);
            let packets = self.delivered_packets;
            self.cpu_ns_per_packet = (packets > 0).then(|| cpu * 1e9 / packets as f64);
            self.rss_bytes = Some(after.rss_bytes);
        }
    }

    fn note_metrics(&mut self, watched: &Watched) {
        let grown = |name: &str| Some(watched.last.sum(name)? - watched.first.sum(name)?);
        self.run_length_mean = grown("run_packets_sum")
            .zip(grown("run_packets_count"))
            .filter(|(_, runs)| *runs > 0.0)
            .map(|(packets, runs)| packets / runs);
        self.framed_fraction = grown("frames_total")
            .zip(grown("run_packets_count"))
            .filter(|(_, runs)| *runs > 0.0)
            .map(|(frames, runs)| frames / runs);
        self.shard_busy = watched.busy.clone();
        let before = watched.first.by_label("drops_total", "reason");
        let after = watched.last.by_label("drops_total", "reason");
        let grown = after.into_iter().filter_map(|(reason, count)| {
            let more = count - before.get(&reason).copied().unwrap_or(0.0);
            (more > 0.0).then_some((reason, more as u64))
        });
        self.dataplane_drops = grown.collect();
        if let Some(kernel) = watched.last.sum("kernel_drops_total") {
            let more = kernel - watched.first.sum("kernel_drops_total").unwrap_or(0.0);
            if more > 0.0 {
                self.dataplane_drops
                    .insert("receive_buffer_full".into(), more as u64);
            }
        }
    }

    fn note_own(&mut self, farm: &Farm, overflowed: u32, backlog: u64) {
        self.publisher_late_us = Percentiles::of(&farm.own.late_us);
        self.lost_sessions.clone_from(&farm.own.lost_sessions);
        let limits = &mut self.load_generator_limits;
        let busy = self.load_generator_busy;
        if busy > BUSY_LIMIT {
            limits.push(format!(
                "its thread was busy {:.0} % of the time",
                busy * 100.0
            ));
        }
        let late = Duration::from_micros(self.publisher_late_us.max);
        if late > LATE_LIMIT {
            limits.push(format!("a publisher sent {late:?} late"));
        }
        if overflowed > 0 {
            limits.push(format!(
                "{overflowed} datagrams did not fit its receive buffer"
            ));
        }
        if backlog > 0 {
            limits.push(format!(
                "{backlog} packets were dropped between device and socket"
            ));
        }
        self.load_generator_limited = !limits.is_empty();
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}
