//! Many participants on signaling nodes that share their rooms: a storm of joins, then chat at a rate that
//! does not wait; or thousands that only stay connected, and what they cost in memory. No media.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

pub mod files; // what the kernel must allow for so many connections
pub mod crowd; // the participants
pub mod wire; // one's connection
pub mod chat; // what they say
pub mod tally; // what they should have heard
pub mod raw; // what Redis delivers by itself

use crate::canary::token::TokenSource;
use crate::host::facts::{self, Facts};
use crate::host::process::{self, Pid};
use chat::{Chat, Step};
use crowd::{Board, Order, Seat};

/// The nodes and the load.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Options {
    /// A signaling node, IP:PORT; participants of a room take turns on them
    #[arg(long = "node", required = true)]
    nodes: Vec<SocketAddr>,
    /// Process of a node on this host, to read its memory; as many as nodes
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// The Redis that the nodes share, IP:PORT, to measure what it delivers by itself
    #[arg(long)]
    redis: Option<SocketAddr>,
    /// API key of the nodes
    #[arg(long)]
    api_key: String,
    /// Its secret
    #[arg(long)]
    api_secret: String,
    /// Participants
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Participants of a room
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    room_size: u32,
    /// Rate of joins
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    joins_per_second: u32,
    /// Messages sent per second [default: rises until they are late]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages_per_second: Option<u32>,
    /// Bytes of padding in a message
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    message_bytes: u32,
    /// Length of each window
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Nobody says anything: what a connection costs in memory
    #[arg(long)]
    idle: bool,
}

/// After the last join was due, for all to have joined.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// Between the last join and what comes next.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// Connections are lost within this time, as when a node dies.
const RETURN_SPREAD: Duration = Duration::from_secs(1);
/// Idle participants are watched until each was pinged at least once.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// Measures, and says it as one line of JSON.
pub fn run(options: &Options) -> anyhow::Result<String> {
    files::allow(options.connections as usize)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut result = runtime.block_on(measure(options))?;
    // Nobody is connected any more.
    runtime.shutdown_background();
    result["command"] = json!(facts::command_line());
    result["host"] = serde_json::to_value(Facts::gather(None))?;
    Ok(result.to_string())
}

async fn measure(options: &Options) -> anyhow::Result<Value> {
    let connections = options.connections as usize;
    let board = Arc::new(Board::new(connections, options.room_size as usize)?);
    let before = rss_bytes(options)?;
    let mouths = storm(options, &board).await?;
    let settle = if options.idle { IDLE_TIME } else { SETTLE_TIME };
    sleep(settle).await;
    let grown = rss_bytes(options)?.saturating_sub(before);
    let mut result = json!({
        "bench": "signal",
        "nodes": options.nodes.len(),
        "store": if options.redis.is_some() { "redis" } else { "memory" },
        "connections": connections,
        "room_size": options.room_size,
        "join_to_notified_ms": quantiles_ms(&board.heard().notified_us),
        "rss_bytes_per_connection":
            (!options.pids.is_empty()).then(|| grown / u64::from(options.connections)),
    });
    if !options.idle {
        talk(options, &board, &mouths, &mut result).await?;
        result["reconnect"] = return_all(options, &board, &mouths).await?;
    }
    let faults = board.faults();
    let heard = board.heard();
    result["lost"] = json!(faults.lost);
    result["duplicates"] = json!(faults.duplicates);
    result["resyncs"] = json!(heard.resyncs);
    result["refused"] = json!(heard.errors);
    result["broken_sockets"] = json!(heard.broken);
    if let Some(why) = &heard.why_broken {
        eprintln!("{} conversations broke; {why}", heard.broken);
    }
    Ok(result)
}

/// Has everybody join at the rate asked for, whoever is still waiting.
async fn storm(
    options: &Options,
    board: &Arc<Board>,
) -> anyhow::Result<Vec<mpsc::UnboundedSender<Order>>> {
    let tokens = Arc::new(TokenSource::Key {
        key: options.api_key.clone(),
        secret: options.api_secret.clone(),
    });
    let connections = options.connections as usize;
    let start = Instant::now();
    let mut mouths = Vec::with_capacity(connections);
    for index in 0..connections {
        let due = Duration::from_secs_f64(index as f64 / f64::from(options.joins_per_second));
        sleep_until(start + due).await;
        let (mouth, orders) = mpsc::unbounded_channel();
        mouths.push(mouth);
        let seat = Seat {
            index,
            node: options.nodes[index % options.nodes.len()],
            room: index / options.room_size as usize,
        };
        let (board, tokens) = (Arc::clone(board), Arc::clone(&tokens));
        tokio::spawn(crowd::participate(board, seat, tokens, orders));
    }
    let end = Instant::now() + JOIN_TIME;
    loop {
        let (joined, broken, why) = {
            let heard = board.heard();
            (heard.joined, heard.broken, heard.why_broken.clone())
        };
        if let Some(why) = why {
            bail!("{broken} of {connections} could not join; {why}");
        }
        if joined >= connections {
            eprintln!("{joined} joined in {:.1} s", start.elapsed().as_secs_f64());
            return Ok(mouths);
        }
        if Instant::now() > end {
            bail!(
                "{joined} of {connections} joined within {} s",
                JOIN_TIME.as_secs()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Everybody loses the connection at about the same time, and comes back to the next node.
async fn return_all(
    options: &Options,
    board: &Board,
    mouths: &[mpsc::UnboundedSender<Order>],
) -> anyhow::Result<Value> {
    let start = Instant::now();
    for (index, mouth) in mouths.iter().enumerate() {
        sleep_until(start + RETURN_SPREAD.mul_f64(index as f64 / mouths.len() as f64)).await;
        let node = options.nodes[(index + 1) % options.nodes.len()];
        // Whoever is broken is counted already.
        let _ = mouth.send(Order::Return(node));
    }
    let end = Instant::now() + JOIN_TIME;
    while board.heard().returned < mouths.len() && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
    let took = start.elapsed();
    sleep(SETTLE_TIME).await; // what they missed is on its way
    let heard = board.heard();
    eprintln!(
        "{} came back in {:.1} s, {} of them where they had been",
        heard.returned,
        took.as_secs_f64(),
        heard.recovered
    );
    Ok(json!({
        "returned": heard.returned,
        "recovered": heard.recovered,
        "seconds": took.as_secs_f64(),
        "away_ms": quantiles_ms(&heard.returned_us),
    }))
}

async fn talk(
    options: &Options,
    board: &Arc<Board>,
    mouths: &[mpsc::UnboundedSender<Order>],
    result: &mut Value,
) -> anyhow::Result<()> {
    let window = Duration::from_secs(options.seconds);
    let chat = Chat {
        board,
        mouths,
        message_bytes: options.message_bytes as usize,
        window,
    };
    let steps = match options.messages_per_second {
        Some(rate) => vec![chat.say(rate.into()).await],
        None => chat.rise().await,
    };
    let best = chat::best(&steps).context("there is a step")?;
    let Step {
        messages_per_second,
        delivered_per_second,
        p50_ms,
        p99_ms,
        ..
    } = best;
    result["published_to_delivered_ms"] = json!({"p50": p50_ms, "p99": p99_ms});
    result["delivered_per_second"] = json!(delivered_per_second.round());
    // A room has each event once, however many hear of it.
    let events = delivered_per_second / board.hearers() as f64;
    result["messages_per_second"] = json!(messages_per_second.round());
    result["events_per_second"] = json!(events.round());
    result["steps"] = serde_json::to_value(&steps)?;
    if let Some(redis) = options.redis {
        let bytes = board.heard().event_bytes;
        let nodes = options.nodes.len();
        let asked = tokio::task::spawn_blocking(move || {
            raw::delivered_per_second(redis, nodes, bytes, window)
        });
        let ceiling = asked.await??;
        result["event_bytes"] = json!(bytes);
        result["redis_ceiling_per_second"] = json!(ceiling.round());
        result["ratio_to_redis_ceiling"] = json!(delivered_per_second / ceiling);
    }
    Ok(())
}

/// Of all nodes together.
fn rss_bytes(options: &Options) -> anyhow::Result<u64> {
    let read = |pid: &u32| anyhow::Ok(process::usage(Pid(*pid))?.rss_bytes);
    options.pids.iter().map(read).sum()
}

fn quantiles_ms(histogram: &hdrhistogram::Histogram<u64>) -> Value {
    let ms = |part| histogram.value_at_quantile(part) as f64 / 1e3;
    json!({"p50": ms(0.5), "p99": ms(0.99)})
}
