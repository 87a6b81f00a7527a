//! Real sessions against a running server: publishers on an open schedule, subscribers that count every
//! packet. Prints one JSON line.

pub mod shape; // sizes and times of a publisher's packets
pub mod payload; // packets with checkable bytes
pub mod signaling; // thread that makes sessions
pub mod request; // requests of sessions and their results
pub mod spillway; // sessions by the data plane's control API
pub mod janus; // sessions by Janus' VideoRoom
pub mod session; // one participant
pub mod farm; // all sessions on one thread
mod arrange; // handshakes, a bounded number at a time
pub mod own; // usage of the load generator itself
pub mod tally; // packets that receivers counted
pub mod metrics; // metrics of the data plane
pub mod measure; // one measured window and its results

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use self::farm::Farm;
pub use self::farm::Load;
use self::measure::{Measurement, System};
use self::signaling::Server;
use crate::ceiling;
use crate::host::HostUnderTest;
use crate::host::facts::{self, Facts};
use crate::host::sender::{Batch, Method};
use crate::net::addresses::Addresses;

/// Load and participants of the benchmark.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// Number of participants that send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    publishers: u32,
    /// Number of participants that receive
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// Additional audio calls, each with one speaker and one listener
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    calls: u32,
    /// Length of the measured window
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// The server, the hosts and the kind of media: shared by all load tests.
#[derive(clap::Args, Debug, Clone)]
pub struct Setup {
    /// Control API of the data plane (gRPC), IP:PORT
    #[arg(long, required_unless_present = "janus", conflicts_with = "janus")]
    control: Option<SocketAddr>,
    /// WebSocket API of a Janus gateway instead, IP:PORT
    #[arg(long)]
    janus: Option<SocketAddr>,
    /// Metrics of the data plane (HTTP), IP:PORT; needed to name its limits
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// Address of `spillway-bench host --listen` on the server's host; without it neither processor time nor
    /// the ceiling are known
    #[arg(long)]
    target: Option<SocketAddr>,
    /// Addresses of participants: a network routed to this host, and local to it
    #[arg(long, default_value = "10.64.0.0/10")]
    sources: Addresses,
    /// Speech instead of video
    #[arg(long, conflicts_with_all = ["layers", "bitrate"])]
    audio: bool,
    /// Simulcast of three layers, with a quarter, a half and all of the bitrate
    #[arg(long)]
    layers: bool,
    /// Bitrate of a publisher's video (its highest layer), RTP headers included
    #[arg(long, default_value = "2mbit", value_parser = parse_bitrate)]
    bitrate: u64,
    /// The first publisher sends at this multiple of its bitrate
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    overdrive: u32,
    /// Packets leave a publisher at 2.5 times the bitrate, in bursts this long at most, as libwebrtc paces
    /// them: a usual frame at once, a keyframe in several; 0: every frame at once
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=100))]
    burst_ms: u64,
    /// Publishers that each subscriber watches
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    watch: u16,
    /// Decrypt and check the media of one subscriber of this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    sample: u16,
    /// Decrypt and check the media of every subscriber
    #[arg(long)]
    verify: bool,
    /// Seconds of each measurement of the ceiling; 0: no ceiling
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    ceiling_seconds: u64,
}

/// The JSON line of a run.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    bench: &'static str,
    server: &'static str,
    publishers: u32,
    media: &'static str,
    bitrate_bps: Option<u64>,
    layers: bool,
    overdrive: u32,
    burst_ms: u64,
    watch: u16,
    calls: u32,
    #[serde(flatten)]
    measurement: &'a Measurement,
    ceiling_sendmmsg_pps: Option<f64>,
    ratio_to_ceiling: Option<f64>,
    host: Option<Facts>,
    load_host: Facts,
    command: String,
}

/// The ceiling is the best of this many measurements, because others may be disturbed.
const CEILING_TRIES: u32 = 3;
const MIN_BITRATE_BPS: u64 = 64_000;
const MAX_BITRATE_BPS: u64 = 50_000_000;
/// Bytes of a datagram at the ceiling if none was delivered.
const USUAL_BYTES: u16 = 1_180;

/// Runs the benchmark. Returns its JSON line.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let Options {
        setup,
        publishers,
        subscribers,
        calls,
        seconds,
    } = options;
    setup.check(*publishers)?;
    let mut system = setup.system()?;
    let load = Load {
        calls: *calls as usize,
        ..setup.load()
    };
    let all_publishers = (publishers + calls) as usize;
    let mut farm = Farm::new(setup.server(), setup.sources, load)?;
    farm.add_publishers(all_publishers)?;
    let empty = system.usage()?;
    farm.add_subscribers((subscribers + calls) as usize)?;
    let mut measured = measure::measure(
        &mut farm,
        &mut system,
        Duration::from_secs(*seconds),
        all_publishers,
    )?;
    measured.set_memory(empty);
    drop(farm);
    let ceiling = setup.ceiling(&mut system, *subscribers, measured.mean_datagram_bytes())?;
    let line = Line {
        bench: "fanout",
        server: setup.server().name(),
        publishers: *publishers,
        media: if setup.audio { "audio" } else { "video" },
        bitrate_bps: (!setup.audio).then_some(setup.bitrate),
        layers: setup.layers,
        overdrive: setup.overdrive,
        burst_ms: setup.burst_ms,
        watch: setup.watch,
        calls: *calls,
        measurement: &measured,
        ceiling_sendmmsg_pps: ceiling,
        ratio_to_ceiling: ceiling.map(|ceiling| measured.delivered_pps / ceiling),
        host: system.facts()?,
        load_host: Facts::gather(None),
        command: facts::command_line(),
    };
    Ok(serde_json::to_string(&line)?)
}

impl Setup {
    /// A data plane under `load`.
    pub fn of_spillway(
        control: SocketAddr,
        metrics: Option<SocketAddr>,
        target: SocketAddr,
        load: Load,
    ) -> Self {
        Self {
            control: Some(control),
            metrics,
            ..Self::of(target, load)
        }
    }

    /// A Janus gateway under `load`.
    pub fn of_janus(janus: SocketAddr, target: SocketAddr, load: Load) -> Self {
        Self {
            janus: Some(janus),
            ..Self::of(target, load)
        }
    }

    fn of(target: SocketAddr, load: Load) -> Self {
        Self {
            control: None,
            janus: None,
            metrics: None,
            target: Some(target),
            sources: Addresses::LAB,
            audio: load.audio,
            layers: load.layers,
            bitrate: load.bitrate_bps,
            overdrive: load.overdrive,
            burst_ms: load
                .burst
                .map_or(0, |burst| u64::try_from(burst.as_millis()).unwrap_or(0)),
            watch: u16::try_from(load.watch).unwrap_or(1),
            sample: u16::try_from(load.sample).unwrap_or(1),
            verify: false,
            ceiling_seconds: 0,
        }
    }

    /// Checks combinations of options; clap checks the rest.
    pub fn check(&self, publishers: u32) -> anyhow::Result<()> {
        let watch = self.watch;
        anyhow::ensure!(
            u32::from(watch) <= publishers,
            "--watch {watch} is more than --publishers {publishers}"
        );
        Ok(())
    }

    /// The server under test.
    pub fn server(&self) -> Server {
        match (self.control, self.janus) {
            (_, Some(janus)) => Server::Janus(janus),
            (Some(control), None) => Server::Spillway(control),
            (None, None) => unreachable!("clap requires one of them"),
        }
    }

    /// The kind of media.
    pub fn load(&self) -> Load {
        Load {
            audio: self.audio,
            layers: self.layers,
            bitrate_bps: self.bitrate,
            overdrive: self.overdrive,
            burst: (self.burst_ms > 0).then(|| Duration::from_millis(self.burst_ms)),
            watch: usize::from(self.watch),
            sample: if self.verify {
                1
            } else {
                usize::from(self.sample)
            },
            calls: 0,
        }
    }

    /// Connects to the host under test and its metrics.
    pub fn system(&self) -> anyhow::Result<System> {
        let host = self.target.map(HostUnderTest::connect).transpose()?;
        Ok(System {
            host,
            metrics: self.metrics,
        })
    }

    /// Source addresses of the participants.
    pub fn sources(&self) -> Addresses {
        self.sources
    }

    /// Description of each publisher's media.
    pub fn media(&self) -> String {
        let what = match (self.audio, self.layers) {
            (true, _) => "speech, 50 packets/s".into(),
            (false, false) => format!("VP8 {} Mb/s, 30 frames/s", self.bitrate as f64 / 1e6),
            (false, true) => format!(
                "VP8 simulcast up to {} Mb/s, 30 frames/s",
                self.bitrate as f64 / 1e6
            ),
        };
        match self.watch {
            1 => format!("{what}; each subscriber watches one"),
            watch => format!("{what}; each subscriber watches {watch}"),
        }
    }

    /// Delivered datagrams per second of plain `sendmmsg`, from the same host to the same addresses.
    pub fn ceiling(
        &self,
        system: &mut System,
        subscribers: u32,
        bytes: Option<u16>,
    ) -> anyhow::Result<Option<f64>> {
        let Some(host) = system.host.as_mut().filter(|_| self.ceiling_seconds > 0) else {
            return Ok(None);
        };
        let plan = ceiling::Plan {
            sources: self.sources,
            subscribers,
            bytes: bytes.unwrap_or(USUAL_BYTES),
            time: Duration::from_secs(self.ceiling_seconds),
        };
        let batch = Batch {
            method: Method::Sendmmsg,
            encrypted: false,
        };
        let mut best = 0.0_f64;
        for _ in 0..CEILING_TRIES {
            best = best.max(ceiling::measure(host, &plan, batch)?.delivered_pps);
        }
        Ok(Some(best))
    }
}

impl Server {
    /// Name of the server in the result.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spillway(_) => "spillway",
            Self::Janus(_) => "janus",
        }
    }
}

/// Bits per second, such as 2mbit or 500kbit.
pub(crate) fn parse_bitrate(text: &str) -> Result<u64, String> {
    let (number, unit) = match (text.strip_suffix("mbit"), text.strip_suffix("kbit")) {
        (Some(number), _) => (number, 1e6),
        (None, Some(number)) => (number, 1e3),
        (None, None) => return Err("is not of the form 2mbit or 500kbit".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("'{number}' is no number"))?;
    let bps = number * unit;
    if !(MIN_BITRATE_BPS as f64..=MAX_BITRATE_BPS as f64).contains(&bps) {
        return Err(format!(
            "is outside {}kbit..={}mbit",
            MIN_BITRATE_BPS / 1_000,
            MAX_BITRATE_BPS / 1_000_000
        ));
    }
    Ok(bps as u64)
}

/// Speed of a link: a bitrate, also in gbit.
pub(crate) fn parse_bitrate_of_link(text: &str) -> Result<u64, String> {
    let factors = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)];
    let split = |(unit, factor): &(&str, f64)| Some((text.strip_suffix(unit)?, *factor));
    let (number, factor) = factors
        .iter()
        .find_map(split)
        .ok_or("is not of the form 1gbit or 100mbit")?;
    match number.parse::<f64>() {
        Ok(number) if number * factor >= 1e6 && number * factor <= 1e12 => {
            Ok((number * factor) as u64)
        }
        Ok(_) => Err("is outside 1mbit..=1000gbit".into()),
        Err(_) => Err(format!("'{number}' is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrates_have_units_and_limits() {
        assert_eq!(parse_bitrate("2mbit"), Ok(2_000_000));
        assert_eq!(parse_bitrate("1.5mbit"), Ok(1_500_000));
        assert_eq!(parse_bitrate("500kbit"), Ok(500_000));
        assert_eq!(parse_bitrate_of_link("1gbit"), Ok(1_000_000_000));
        for text in ["0gbit", "1", "xgbit", "NaNgbit"] {
            assert!(parse_bitrate_of_link(text).is_err(), "{text}");
        }
        for (text, part) in [
            ("2", "2mbit or 500kbit"),
            ("xmbit", "'x' is no number"),
            ("1kbit", "64kbit..=50mbit"),
            ("51mbit", "64kbit..=50mbit"),
            ("NaNmbit", "64kbit..=50mbit"),
            ("-1mbit", "64kbit..=50mbit"),
        ] {
            let error = parse_bitrate(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
