//! The store on a Redis cluster: the tests of every store, and no undetected gap while slots move
//! and masters fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context;
use spillway_controlplane::history::Missed;
use spillway_controlplane::ids::{Epoch, RoomName};
use spillway_controlplane::metrics::StoreMetrics;
use spillway_controlplane::store::redis::{RedisServers, RedisStore};
use spillway_controlplane::store::{Opened, RoomUpdate, Store, suite};
use spillway_tests::clock::{TimeLimit, wait};
use spillway_tests::redis::{Cluster, Server};

/// Number of events before the first change.
const LOAD_BEFORE: Duration = Duration::from_secs(2);
const ROOMS: usize = 24;
const CONVERGE_LIMIT: Duration = Duration::from_secs(15);

/// Events that one reader of a room received, with the epoch and the first offset.
#[derive(Debug, Default, Clone, PartialEq)]
struct Log {
    epoch: Option<Epoch>,
    from: u64,
    events: Vec<String>,
    /// Number of times that the reader got a snapshot.
    resyncs: usize,
    /// Gaps that were not reported; none are permitted.
    undetected: usize,
}

type SharedLog = Arc<Mutex<Log>>;

fn lock(log: &SharedLog) -> MutexGuard<'_, Log> {
    log.lock().expect("a panic elsewhere has failed the test")
}

struct Reader {
    store: RedisStore,
    room: RoomName,
    log: SharedLog,
}

impl Log {
    fn start(&mut self, opened: &Opened) {
        self.epoch = Some(opened.epoch.clone());
        self.from = opened.offset;
        self.events.clear();
    }

    fn offset(&self) -> u64 {
        self.from + self.events.len() as u64
    }
}

impl Reader {
    /// Reads the room like a signaling server.
    async fn follow(self, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
        let mut opened = self.store.open(&self.room).await?;
        lock(&self.log).start(&opened);
        while !stop.load(Ordering::Relaxed) {
            let news =
                tokio::time::timeout(Duration::from_millis(100), opened.updates.recv()).await;
            match news {
                Err(_) | Ok(Some(RoomUpdate::Message(_) | RoomUpdate::Taken(_))) => {}
                Ok(Some(RoomUpdate::Entry(entry))) => {
                    let mut log = lock(&self.log);
                    if entry.offset == log.offset() + 1 {
                        log.events.push(format!("{:?}", entry.event));
                    } else if entry.offset > log.offset() {
                        log.undetected += 1;
                    }
                }
                Ok(None) => opened = self.come_back().await?,
            }
        }
        Ok(())
    }

    async fn come_back(&self) -> anyhow::Result<Opened> {
        let limit_left = TimeLimit::new(CONVERGE_LIMIT);
        let opened = loop {
            match self.store.open(&self.room).await {
                Ok(opened) => break opened,
                Err(error) if limit_left.is_over() => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let (epoch, offset) = {
            let log = lock(&self.log);
            (
                log.epoch.clone().context("it was opened before")?,
                log.offset(),
            )
        };
        let missed = self.store.since(&self.room, &epoch, offset).await;
        let mut log = lock(&self.log);
        match missed {
            Ok(Missed::Entries(entries)) => {
                log.events
                    .extend(entries.iter().map(|entry| format!("{:?}", entry.event)));
            }
            Ok(Missed::TooOld) | Err(_) => {
                log.start(&opened);
                log.resyncs += 1;
            }
        }
        Ok(opened)
    }
}

/// Rooms with readers and writers on two servers.
struct Load {
    stop: Arc<AtomicBool>,
    rooms: Vec<RoomName>,
    logs: BTreeMap<RoomName, Vec<SharedLog>>,
    stores: Vec<RedisStore>,
    appended: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
    metrics: StoreMetrics,
}

impl Load {
    async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let metrics = StoreMetrics::default();
        let mut stores = Vec::new();
        for _ in 0..2 {
            stores.push(
                RedisStore::connect(&RedisServers::at(&cluster.urls()), metrics.clone()).await?,
            );
        }
        let name = |number| format!("room-{number}").parse();
        let rooms: Vec<RoomName> = (0..ROOMS).map(name).collect::<Result<_, _>>()?;
        let (stop, appended) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (mut logs, mut tasks) = (BTreeMap::new(), Vec::new());
        for room in &rooms {
            for store in &stores {
                let log = SharedLog::default();
                let reader = Reader {
                    store: store.clone(),
                    room: room.clone(),
                    log: Arc::clone(&log),
                };
                logs.entry(room.clone()).or_insert_with(Vec::new).push(log);
                tasks.push(tokio::spawn(reader.follow(Arc::clone(&stop))));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (number, room) in rooms.iter().enumerate() {
            let (store, room) = (stores[number % 2].clone(), room.clone());
            let (stop, appended) = (Arc::clone(&stop), Arc::clone(&appended));
            tasks.push(tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    store.append(&room, suite::note(number)).await?;
                    appended.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            }));
        }
        Ok(Self {
            stop,
            rooms,
            logs,
            stores,
            appended,
            tasks,
            metrics,
        })
    }

    /// Waits until `events` events were appended. Returns their number.
    async fn reach(&self, events: usize) -> anyhow::Result<usize> {
        let enough = || {
            let appended = self.appended.load(Ordering::Relaxed);
            (appended > events).then_some(appended)
        };
        let reached = wait(CONVERGE_LIMIT, enough).await;
        reached.with_context(|| format!("fewer than {events} events in {CONVERGE_LIMIT:?}"))
    }

    /// Stops the writers. Waits until all readers of each room agree with each other and with the
    /// store.
    async fn finish(self) -> anyhow::Result<(usize, usize)> {
        let writers = self.rooms.len();
        let readers = self.tasks.len() - writers;
        let mut tasks = self.tasks;
        let writing: Vec<_> = tasks.drain(readers..).collect();
        for writer in writing {
            writer.abort();
        }
        let limit_left = TimeLimit::new(CONVERGE_LIMIT);
        loop {
            let apart = differences(&self.logs, &self.stores).await?;
            if apart.is_empty() {
                break;
            }
            anyhow::ensure!(!limit_left.is_over(), "apart: {apart:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await??;
        }
        let all = self.logs.values().flatten().map(|log| lock(log).clone());
        let (mut undetected, mut resyncs) = (0, 0);
        for log in all {
            undetected += log.undetected;
            resyncs += log.resyncs;
        }
        Ok((undetected, resyncs))
    }
}

/// Rooms in which readers differ from each other or from the store.
async fn differences(
    logs: &BTreeMap<RoomName, Vec<SharedLog>>,
    stores: &[RedisStore],
) -> anyhow::Result<Vec<String>> {
    let mut apart = Vec::new();
    for (room, logs) in logs {
        let logs: Vec<Log> = logs.iter().map(|log| lock(log).clone()).collect();
        let (left, right) = (&logs[0], &logs[1]);
        let place = |log: &Log| (log.epoch.clone(), log.offset());
        if place(left) != place(right) {
            apart.push(format!("{room}: {:?} and {:?}", place(left), place(right)));
            continue;
        }
        let common = left.events.len().min(right.events.len());
        let last = |log: &Log| log.events[log.events.len() - common..].to_vec();
        anyhow::ensure!(
            last(left) == last(right),
            "{room}: two readers saw different events"
        );
        let epoch = left.epoch.clone().context("it was opened")?;
        let from = left.offset().saturating_sub(common.min(500) as u64);
        let Ok(Missed::Entries(kept)) = stores[0].since(room, &epoch, from).await else {
            apart.push(format!("{room}: the store has no history since {from}"));
            continue;
        };
        let kept: Vec<_> = kept
            .iter()
            .map(|entry| format!("{:?}", entry.event))
            .collect();
        let seen = &left.events[left.events.len() - kept.len().min(left.events.len())..];
        if kept != seen {
            apart.push(format!("{room}: the store has other events"));
        }
    }
    Ok(apart)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_the_suite_of_every_store() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let store = RedisStore::connect(
        &RedisServers::at(&cluster.urls()[..1]),
        StoreMetrics::default(),
    )
    .await?;
    suite::run(&store).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_and_a_master_dies_and_nobody_misses_anything_unknowingly() -> anyhow::Result<()>
{
    let mut cluster = Cluster::start().await?;
    let load = Load::start(&cluster).await?;
    // Rooms need a history, which moves with their slots.
    tokio::time::sleep(LOAD_BEFORE).await;
    let mut moved = 0;
    for room in &load.rooms[..4] {
        let slot = slot_of(&cluster.servers, room)?;
        let port = cluster.migrate(slot)?;
        cluster.agreed(slot, port).await?;
        moved += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let after_moves = load.reach(ROOMS * 100).await?;
    let (master, _, _) = cluster.masters()?.into_iter().next().context("no master")?;
    cluster.servers[master].kill();
    let appended = load.reach(after_moves + ROOMS * 50).await?;
    cluster.failed_over(master).await?;
    let metrics = load.metrics.clone();
    let (undetected, resyncs) = load.finish().await?;
    println!(
        "{{\"suite\":\"redis-cluster\",\"slots_moved\":{moved},\"masters_killed\":1,\"events\":{appended},\
         \"gaps_undetected\":{undetected},\"readers_resynced\":{resyncs},\"events_repaired\":{},\
         \"resubscribed\":{},\"island_events\":{}}}",
        metrics.repaired.get(),
        metrics.resubscribed.get(),
        metrics.offline_events.get(),
    );
    assert_eq!(undetected, 0);
    Ok(())
}

/// Hash slot of the keys of `room`.
fn slot_of(servers: &[Server], room: &RoomName) -> anyhow::Result<u16> {
    for server in servers {
        let keys = server.cli(&["keys", &format!("*:{room}:meta")])?;
        if let Some(key) = keys.lines().find(|key| !key.is_empty()) {
            return Ok(server.cli(&["cluster", "keyslot", key])?.trim().parse()?);
        }
    }
    anyhow::bail!("no server has room {room}")
}
