//! Measures the store on one Redis server. Two servers append events at a fixed rate (open loop),
//! and readers at both receive them. For comparison, `redis-benchmark` measures the append script
//! alone, and plain `SPUBLISH` with two subscribers. Run by `scripts/bench store`.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Value, json};
use spillway_controlplane::history::RoomEvent;
use spillway_controlplane::history::{Append, Change, Missed};
use spillway_controlplane::ids::RoomName;
use spillway_controlplane::metrics::StoreMetrics;
use spillway_controlplane::store::redis::{RedisServers, RedisStore};
use spillway_controlplane::store::{Opened, RoomUpdate, Store, suite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Options of the measurement.
#[derive(Parser)]
struct Options {
    /// Port of a Redis server on loopback that no other program uses
    #[arg(long)]
    port: u16,
    /// Process id of that server, to read its CPU time
    #[arg(long)]
    pid: u32,
    /// Seconds of each step
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Events per second in the first step
    #[arg(long, default_value_t = 16_000)]
    from: u64,
    /// `cargo bench` passes this flag
    #[arg(long, hide = true)]
    bench: bool,
}

/// Number of rooms, and participants of each room.
const SHAPES: [(usize, usize); 2] = [(1_000, 2), (10, 500)];
const SERVERS: usize = 2;
/// Factor between the rates of two steps.
const STEP: f64 = 1.25;
const STEPS: usize = 12;
/// A step passes if this share of its events was received by its end.
const KEPT_UP: f64 = 0.97;
/// Events are due at this interval, because timers are not more precise.
const TICK: Duration = Duration::from_millis(1);
/// Every so many latencies one is kept.
const SAMPLED: u64 = 8;
/// Time limit for events in flight at the end of a step.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Size of the padding in a message.
const PADDING: usize = 100;
const BENCHMARK_CALLS: &str = "400000";
const APPEND_LUA: &str = include_str!("../src/store/redis/scripts/append.lua");

/// Counters of the readers.
#[derive(Default)]
struct ReaderCounters {
    told: AtomicU64,
    lost: AtomicU64,
    resyncs: AtomicU64,
    latencies_us: Mutex<Vec<u32>>,
}

struct LoadedStore {
    stores: Vec<RedisStore>,
    rooms: Vec<RoomName>,
    counters: Arc<ReaderCounters>,
    start: Instant,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let line = runtime.block_on(measure(&options))?;
    runtime.shutdown_background();
    println!("{line}");
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Value> {
    // Measure the comparison before and after, because the load of the host changes.
    let mut appends = vec![append_alone(options)?];
    let mut spublish = vec![spublish_alone(options).await?];
    let mut shapes = Vec::new();
    for shape in SHAPES {
        shapes.push(load(options, shape).await?);
    }
    appends.push(append_alone(options)?);
    spublish.push(spublish_alone(options).await?);
    let best = |all: &[f64]| all.iter().copied().fold(0.0, f64::max).round();
    let append = best(&appends);
    let least = |name: &str| {
        let figures = shapes.iter().filter_map(|shape| shape[name].as_f64());
        figures.fold(f64::INFINITY, f64::min)
    };
    let lost: u64 = shapes
        .iter()
        .filter_map(|shape| shape["lost"].as_u64())
        .sum();
    Ok(json!({
        "bench": "store",
        "lost": lost,
        "least_events_per_second": least("events_per_second"),
        "least_events_per_redis_cpu_second": least("events_per_redis_cpu_second"),
        "ratio_to_append": least("events_per_second") / append,
        "append_lua_per_second": append,
        "spublish_per_second": best(&spublish),
        "shapes": shapes,
        "cores": std::thread::available_parallelism()?.get(),
    }))
}

/// Runs steps with rising rates in rooms of one shape. Returns the best step that passed.
async fn load(options: &Options, (rooms, size): (usize, usize)) -> anyhow::Result<Value> {
    let store_load = LoadedStore::set(options, (rooms, size)).await?;
    let mut rate = options.from as f64;
    let (mut best, mut steps): (Option<Value>, Vec<Value>) = (None, Vec::new());
    for _ in 0..STEPS {
        let step = store_load.step(options, rate).await?;
        eprintln!("{rooms} rooms of {size}: {step}");
        let kept_up = step["kept_up"] == true;
        let rate_of = |step: &Value| step["events_per_second"].as_f64().unwrap_or(0.0);
        if best
            .as_ref()
            .is_none_or(|best| rate_of(&step) > rate_of(best))
        {
            best = Some(step.clone());
        }
        steps.push(step);
        if !kept_up {
            break;
        }
        rate *= STEP;
    }
    let mut best = best.context("there is a step")?;
    best["rooms"] = json!(rooms);
    best["room_size"] = json!(size);
    best["lost"] = json!(store_load.counters.lost.load(Ordering::Relaxed));
    best["resyncs"] = json!(store_load.counters.resyncs.load(Ordering::Relaxed));
    best["steps"] = json!(steps.len());
    Ok(best)
}

impl LoadedStore {
    async fn set(options: &Options, (rooms, size): (usize, usize)) -> anyhow::Result<Self> {
        let servers = RedisServers::at(&[format!("redis://127.0.0.1:{}", options.port)]);
        let mut stores = Vec::new();
        for _ in 0..SERVERS {
            stores.push(RedisStore::connect(&servers, StoreMetrics::default()).await?);
        }
        let rooms: Result<Vec<RoomName>, _> = (0..rooms)
            .map(|number| format!("bench-{size}-{number}").parse())
            .collect();
        let store_load = Self {
            stores,
            rooms: rooms.ok().context("such a room has a name")?,
            counters: Arc::default(),
            start: Instant::now(),
        };
        for room in &store_load.rooms {
            store_load.stores[0].open(room).await?;
            let people: Vec<_> = (0..size)
                .map(|n| suite::participant(&format!("p-{n}")))
                .collect();
            let joins = people
                .iter()
                .map(|person| store_load.stores[0].append(room, suite::joined(person)));
            futures_util::future::try_join_all(joins).await?;
            for store in &store_load.stores {
                let opened = store.open(room).await?;
                let (store, room, counters) = (
                    store.clone(),
                    room.clone(),
                    Arc::clone(&store_load.counters),
                );
                tokio::spawn(read((store, room), opened, counters, store_load.start));
            }
        }
        Ok(store_load)
    }

    async fn step(&self, options: &Options, rate: f64) -> anyhow::Result<Value> {
        self.latencies().clear();
        let told_before = self.counters.told.load(Ordering::Relaxed);
        let window = Duration::from_secs(options.seconds);
        let refused = Arc::new(AtomicU64::new(0));
        let cpu_before = cpu_seconds(options.pid)?;
        let (start, mut sent) = (Instant::now(), 0_u64);
        let mut tick = tokio::time::interval(TICK);
        while start.elapsed() < window {
            tick.tick().await;
            let due = (start.elapsed().min(window).as_secs_f64() * rate) as u64;
            while sent < due {
                self.send(sent, &refused);
                sent += 1;
            }
        }
        let told = || self.counters.told.load(Ordering::Relaxed) - told_before;
        let in_time = told() as f64 / SERVERS as f64;
        let drain = Instant::now();
        let all = || sent - refused.load(Ordering::Relaxed);
        while told() < all() * SERVERS as u64 && drain.elapsed() < DRAIN_LIMIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds(options.pid)? - cpu_before;
        let events = told() as f64 / SERVERS as f64;
        let missing = (all() * SERVERS as u64).saturating_sub(told());
        self.counters.lost.fetch_add(missing, Ordering::Relaxed);
        let mut latencies = std::mem::take(&mut *self.latencies());
        latencies.sort_unstable();
        let part = |part: f64| {
            let index = (latencies.len() as f64 * part) as usize;
            f64::from(latencies.get(index).copied().unwrap_or(0)) / 1e3
        };
        Ok(json!({
            "events_per_second": (events / took).round(),
            "events_per_redis_cpu_second": (events / cpu).round(),
            "redis_busy": cpu / took,
            "offered_per_second": rate.round(),
            "kept_up": in_time >= sent as f64 * KEPT_UP,
            "refused": refused.load(Ordering::Relaxed),
            "appended_to_told_ms": {"p50": part(0.5), "p99": part(0.99)},
        }))
    }

    /// Appends without waiting for earlier appends: the load is open loop.
    fn send(&self, number: u64, refused: &Arc<AtomicU64>) {
        let number = usize::try_from(number).expect("fits");
        let room = self.rooms[number % self.rooms.len()].clone();
        let store = self.stores[number / self.rooms.len() % SERVERS].clone();
        let (due_us, refused) = (self.start.elapsed().as_micros(), Arc::clone(refused));
        tokio::spawn(async move {
            if store.append(&room, message(due_us)).await.is_err() {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn latencies(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.counters
            .latencies_us
            .lock()
            .expect("nobody panics with it")
    }
}

fn message(due_us: u128) -> Append {
    let due_us = u64::try_from(due_us).expect("a run is short");
    Append {
        event: RoomEvent::Message {
            participant: "PA_0000000000000000".parse().expect("a participant's form"),
            identity: "bench".parse().expect("a name"),
            topic: "bench".to_owned(),
            payload: json!({"t": due_us, "p": "x".repeat(PADDING)}),
        },
        to: None,
        change: Change::None,
    }
}

/// Counts received events. Reads missed events after the reader was removed.
async fn read(
    (store, room): (RedisStore, RoomName),
    mut opened: Opened,
    counters: Arc<ReaderCounters>,
    start: Instant,
) {
    let mut offset = opened.offset;
    loop {
        match opened.updates.recv().await {
            Some(RoomUpdate::Entry(entry)) => {
                let expected = offset + 1;
                if entry.offset > expected {
                    counters
                        .lost
                        .fetch_add(entry.offset - expected, Ordering::Relaxed);
                }
                if entry.offset < expected {
                    continue;
                }
                offset = entry.offset;
                counters.told.fetch_add(1, Ordering::Relaxed);
                if offset.is_multiple_of(SAMPLED)
                    && let RoomEvent::Message { payload, .. } = &entry.event
                    && let Some(due_us) = payload["t"].as_u64()
                {
                    let now_us = start.elapsed().as_micros() as u64;
                    let late = now_us.saturating_sub(due_us).try_into().unwrap_or(u32::MAX);
                    counters
                        .latencies_us
                        .lock()
                        .expect("nobody panics with it")
                        .push(late);
                }
            }
            Some(RoomUpdate::Message(_) | RoomUpdate::Taken(_)) => {}
            None => {
                counters.resyncs.fetch_add(1, Ordering::Relaxed);
                let epoch = opened.epoch.clone();
                let Ok(again) = store.open(&room).await else {
                    return;
                };
                if let Ok(Missed::Entries(entries)) = store.since(&room, &epoch, offset).await {
                    offset += entries.len() as u64;
                    counters
                        .told
                        .fetch_add(entries.len() as u64, Ordering::Relaxed);
                }
                opened = again;
            }
        }
    }
}

/// User and system time of a process in seconds (proc(5)).
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("no such form")?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || -> anyhow::Result<f64> { Ok(fields.next().context("too short")?.parse()?) };
    // USER_HZ is 100 on all supported architectures.
    Ok((ticks()? + ticks()?) / 100.0)
}

/// Calls per second of the append script: 16 in flight, one event each.
fn append_alone(options: &Options) -> anyhow::Result<f64> {
    let cli = |args: &[&str]| -> anyhow::Result<String> {
        let port = options.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port])
            .args(args)
            .output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let hash = cli(&["script", "load", APPEND_LUA])?;
    ensure!(hash.len() == 40, "the script is not taken: {hash}");
    let keys = ["meta", "history", "participants", "presence", "owners"];
    let keys = keys.map(|key| format!("spillway:1:{{bench}}:alone:{key}"));
    cli(&["hset", &keys[0], "epoch", "AAAAAAAAAAAA", "offset", "0"])?;
    let append = message(0);
    let body = format!("\"event\":{}", serde_json::to_string(&append.event)?);
    let mut args: Vec<&str> = vec!["evalsha", &hash, "5"];
    args.extend(keys.iter().map(String::as_str));
    args.extend([
        "server",
        "__rand_int__",
        "spillway:1:{bench}",
        "{\"room\":\"alone\",",
    ]);
    args.extend(["1024", "600000", "30000", &body, "none", "", ""]);
    let rate = benchmark(options.port, &args)?;
    let appended: u64 = cli(&["hget", &keys[0], "offset"])?.parse()?;
    ensure!(appended > 0, "the script appended nothing");
    cli(&["del", &keys[0], &keys[1]])?;
    Ok(rate)
}

/// `SPUBLISH` per second: 16 in flight, to two subscribers that ignore the messages.
async fn spublish_alone(options: &Options) -> anyhow::Result<f64> {
    const CHANNEL: &str = "bench:{spublish}";
    let mut subscribers = Vec::new();
    for _ in 0..SERVERS {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", options.port)).await?;
        stream
            .write_all(format!("SSUBSCRIBE {CHANNEL}\r\n").as_bytes())
            .await?;
        stream.read_u8().await?;
        subscribers.push(tokio::spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        }));
    }
    let port = options.port;
    let text = serde_json::to_string(&message(0).event)?;
    let rate = tokio::task::spawn_blocking(move || benchmark(port, &["spublish", CHANNEL, &text]));
    let rate = rate.await??;
    subscribers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(rate)
}

fn benchmark(port: u16, args: &[&str]) -> anyhow::Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", "1", "-P", "16", "--csv"])
        .args(["-n", BENCHMARK_CALLS, "-r", "1000000000"])
        .args(args)
        .output()
        .context("cannot run redis-benchmark: is redis-tools installed?")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // Columns: the command, which may contain commas, then calls per second and latencies.
    let line = text
        .lines()
        .last()
        .context("redis-benchmark says nothing")?;
    let mut fields = line.rsplit("\",\"");
    let rate = fields
        .nth(6)
        .and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark says {line} {errors}"))
}
