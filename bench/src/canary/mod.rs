//! A synthetic call through the public signaling API: two participants join, publish and subscribe to each other.
//! Operators use it as a probe: it prints one JSON line, and exits with 1 when media did not flow in both directions.

pub mod client; // one participant
pub mod signal; // the signaling WebSocket
pub mod token; // tokens to join with

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use self::client::Client;
use self::token::TokenSource;

/// Options of the canary.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// URL of the server
    #[arg(long, default_value = "http://127.0.0.1:7880", env = "SPILLWAY_URL")]
    url: String,
    /// Seconds of media to send and receive
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// API key that signs tokens; without it, demo tokens of the server are used
    #[arg(long, env = "SPILLWAY_API_KEY", requires = "api_secret")]
    api_key: Option<String>,
    /// API secret that signs tokens
    #[arg(
        long,
        env = "SPILLWAY_API_SECRET",
        requires = "api_key",
        hide_env_values = true
    )]
    api_secret: Option<String>,
    /// Room to meet in; a random one by default
    #[arg(long)]
    room: Option<String>,
    /// No effect: the result is always one JSON line
    #[arg(long)]
    json: bool,
}

/// The result, as printed.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Milliseconds until both participants received `joined`.
    join_ms: f64,
    /// Milliseconds until both participants had both tracks of the other.
    first_media_ms: f64,
    packets_sent: u64,
    packets_received: u64,
    /// Number of packets that were lost after the first one arrived.
    lost: u64,
    forward_us: Percentiles,
}

#[derive(Debug, Default, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
}

/// Time to join and connect before the probe fails.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time to wait at the end for packets on the network.
const DRAIN: Duration = Duration::from_millis(500);
/// Number of tracks that each participant must receive: audio and video of the other.
const TRACKS_TO_SEE: usize = 2;

/// Runs the probe and prints its result.
pub fn run(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(call(options)));
    let report = result.unwrap_or_else(|error| Report {
        ok: false,
        reason: Some(format!("{error:#}")),
        join_ms: 0.0,
        first_media_ms: 0.0,
        packets_sent: 0,
        packets_received: 0,
        lost: 0,
        forward_us: Percentiles::default(),
    });
    let line = serde_json::to_string(&report).expect("a report is plain data");
    if !crate::output::say(&line) {
        return ExitCode::FAILURE;
    }
    if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Rounded to a microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

async fn call(options: &Options) -> anyhow::Result<Report> {
    let url = options.url.trim_end_matches('/');
    anyhow::ensure!(
        url.starts_with("http://"),
        "url '{url}' is not of the form http://host:port"
    );
    let tokens = match (&options.api_key, &options.api_secret) {
        (Some(key), Some(secret)) => TokenSource::Key {
            key: key.clone(),
            secret: secret.clone(),
        },
        (None, _) | (_, None) => TokenSource::Demo(url.to_owned()),
    };
    let room = options
        .room
        .clone()
        .unwrap_or_else(|| format!("canary-{:08x}", fastrand::u32(..)));
    let start = Instant::now();
    let mut clients = Vec::new();
    for identity in ["canary-a", "canary-b"] {
        let token = tokens.token(&room, identity)?;
        clients.push(tokio::time::timeout(CONNECT_LIMIT, Client::join(url, &token, start)).await??);
    }
    let [a, b] = &mut clients[..] else {
        unreachable!("two were pushed")
    };
    // Both run in short steps until each receives the other's media.
    let give_up = Instant::now() + CONNECT_LIMIT;
    while a.watched.len() < TRACKS_TO_SEE || b.watched.len() < TRACKS_TO_SEE {
        let until = Instant::now() + Duration::from_millis(50);
        tokio::try_join!(a.run(until, true), b.run(until, true))?;
        if Instant::now() >= give_up {
            let (a, b) = (a.watched.len(), b.watched.len());
            anyhow::bail!("after {CONNECT_LIMIT:?} one sees {a} of 2 tracks, the other {b} of 2");
        }
    }
    let until = Instant::now() + Duration::from_secs(options.seconds);
    tokio::try_join!(a.run(until, true), b.run(until, true))?;
    let until = Instant::now() + DRAIN;
    tokio::try_join!(a.run(until, false), b.run(until, false))?;
    let report = report(a, b, start);
    a.leave().await?;
    b.leave().await?;
    report
}

fn report(a: &Client, b: &Client, start: Instant) -> anyhow::Result<Report> {
    let mut sent_by_track = a.sent();
    sent_by_track.extend(b.sent());
    let mut latency = Histogram::<u64>::new_with_bounds(1, 10_000_000, 3)?;
    let (mut received, mut expected, mut first_media) = (0, 0, Duration::ZERO);
    for (track, watched) in a.watched.iter().chain(&b.watched) {
        let sent = sent_by_track.get(track).copied().unwrap_or(0);
        received += watched.counters.len() as u64;
        let from_first = watched
            .counters
            .iter()
            .filter(|counter| **counter >= watched.first);
        expected += u64::from(sent.saturating_sub(watched.first)) + watched.counters.len() as u64
            - from_first.count() as u64;
        first_media = first_media.max(watched.first_at.duration_since(start));
        latency.add(&watched.latency_us)?;
    }
    Ok(Report {
        ok: true,
        reason: None,
        join_ms: milliseconds(a.join_time.max(b.join_time)),
        first_media_ms: milliseconds(first_media),
        packets_sent: sent_by_track.values().map(|sent| u64::from(*sent)).sum(),
        packets_received: received,
        lost: expected.saturating_sub(received),
        forward_us: Percentiles {
            p50: latency.value_at_quantile(0.5),
            p99: latency.value_at_quantile(0.99),
        },
    })
}
