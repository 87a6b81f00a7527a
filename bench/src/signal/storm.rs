//! A storm of joins into rooms of one size, then chat at a fixed rate, then the return of all participants; or
//! thousands of idle connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::board::{Board, quantiles_ms};
use super::chat::{self, Chat, Step};
use super::crowd::{Crowd, JOIN_TIME, Joiner, LOOK, Order};
use super::options::Options;
use super::raw;
use super::rooms::{Kind, Rooms};
use crate::host::process::{self, Pid};

/// Time between the last join and the next phase.
const CATCH_UP_TIME: Duration = Duration::from_secs(3);
/// Time in which all connections are closed, as when a server dies.
const RETURN_SPREAD: Duration = Duration::from_secs(1);
/// Time for which idle participants are watched: each is pinged at least once.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// Measures with rooms of one size.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Value> {
    let connections = options.participants();
    let rooms = Rooms::of_size(options.room_size as usize, connections);
    let board = Arc::new(Board::new(rooms)?);
    let before = rss_bytes(options)?;
    let crowd = storm(options, &board).await?;
    let idle_time = if options.idle {
        IDLE_TIME
    } else {
        CATCH_UP_TIME
    };
    sleep(idle_time).await;
    let grown = rss_bytes(options)?.saturating_sub(before);
    let mut result = json!({
        "bench": "signal",
        "servers": options.servers.len(),
        "store": options.store(),
        "connections": connections,
        "room_size": options.room_size,
        "join_to_notified_ms": quantiles_ms(&board.results().join_notifications(Kind::Usual).notified_us),
        "rss_bytes_per_connection":
            (!options.pids.is_empty()).then(|| grown / u64::from(options.connections)),
    });
    if !options.idle {
        measure_chat(options, &board, &crowd, &mut result).await?;
        result["reconnect"] = return_all(options, &board, &crowd).await?;
    }
    board.conclude(&mut result);
    Ok(result)
}

/// Lets all participants join at the given rate, without waiting for answers.
async fn storm(options: &Options, board: &Arc<Board>) -> anyhow::Result<Crowd> {
    let mut crowd = Crowd::new(board, &Arc::new(options.tokens()));
    let start = Instant::now();
    for index in 0..options.participants() {
        let due = Duration::from_secs_f64(index as f64 / f64::from(options.joins_per_second));
        sleep_until(start + due).await;
        crowd.add(Joiner {
            index,
            server: options.server(index),
            room: format!("signal-{}", board.rooms().of(index)),
        });
    }
    crowd.joined(crowd.len()).await?;
    let took = start.elapsed().as_secs_f64();
    eprintln!("{} joined in {took:.1} s", crowd.len());
    Ok(crowd)
}

/// Closes all connections within a short time; all participants resume at the next server.
async fn return_all(options: &Options, board: &Board, crowd: &Crowd) -> anyhow::Result<Value> {
    let start = Instant::now();
    for index in 0..crowd.len() {
        sleep_until(start + RETURN_SPREAD.mul_f64(index as f64 / crowd.len() as f64)).await;
        crowd.order(index, Order::Return(options.server(index + 1)));
    }
    let end = Instant::now() + JOIN_TIME;
    while board.results().returned < crowd.len() && Instant::now() < end {
        sleep(LOOK).await;
    }
    let took = start.elapsed();
    sleep(CATCH_UP_TIME).await; // missed events are still being delivered
    let results = board.results();
    eprintln!(
        "{} came back in {:.1} s, {} of them where they had been",
        results.returned,
        took.as_secs_f64(),
        results.recovered
    );
    Ok(json!({
        "returned": results.returned,
        "recovered": results.recovered,
        "seconds": took.as_secs_f64(),
        "away_ms": quantiles_ms(&results.returned_us),
    }))
}

async fn measure_chat(
    options: &Options,
    board: &Arc<Board>,
    crowd: &Crowd,
    result: &mut Value,
) -> anyhow::Result<()> {
    let window = Duration::from_secs(options.seconds);
    let chat = Chat {
        board,
        crowd,
        message_bytes: options.message_bytes as usize,
        window,
    };
    let steps = match options.messages_per_second {
        Some(rate) => vec![chat.measure(rate.into()).await],
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
    // A room has each event once, regardless of its number of receivers.
    let events = delivered_per_second / board.receivers() as f64;
    result["messages_per_second"] = json!(messages_per_second.round());
    result["events_per_second"] = json!(events.round());
    result["steps"] = serde_json::to_value(&steps)?;
    if let Some(redis) = options.redis {
        let bytes = board.results().event_bytes;
        let servers = options.servers.len();
        let asked = tokio::task::spawn_blocking(move || {
            raw::delivered_per_second(redis, servers, bytes, window)
        });
        let ceiling = asked.await??;
        result["event_bytes"] = json!(bytes);
        result["redis_ceiling_per_second"] = json!(ceiling.round());
        result["ratio_to_redis_ceiling"] = json!(delivered_per_second / ceiling);
    }
    Ok(())
}

/// Resident memory of all servers together.
fn rss_bytes(options: &Options) -> anyhow::Result<u64> {
    let read = |pid: &u32| anyhow::Ok(process::usage(Pid(*pid))?.rss_bytes);
    options.pids.iter().map(read).sum()
}
