//! Failover to another Redis master while rooms span two servers: behind one address, by Sentinel,
//! and after the master's death. Messages answered with `ok` must arrive at the other server, soon
//! after the failover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use spillway_bench::canary::signal::Signal;
use spillway_bench::canary::token::TokenSource;
use spillway_tests::clock::{self, wait};
use spillway_tests::node::Node;
use spillway_tests::redis::Server;
use spillway_tests::sentinel::{Address, SentinelSetup};
use spillway_tests::servers::{KEY, SignalingServer};
use tokio::sync::watch;

/// Time limit, from the moment at which a master accepts writes.
const WRITES_WITHIN: Duration = Duration::from_secs(5);
const CONVERGE_LIMIT: Duration = Duration::from_secs(8);
const FAILOVER_LIMIT: Duration = Duration::from_secs(30);
/// Interval between the messages of each participant.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
/// Time with messages before and after the failover.
const LOAD_AROUND: Duration = Duration::from_secs(1);
/// Time for which the address still leads to the demoted master: shorter and longer than the store
/// waits.
const LATE: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_secs(6)];
const ROOMS: usize = 5;

/// Replies to one participant, and messages that it received from others.
#[derive(Default)]
struct ReceivedMessages {
    /// Times at which their messages were answered with `ok`.
    confirmed: BTreeMap<u64, Instant>,
    refused: usize,
    /// Sender and number of each received message.
    messages: BTreeSet<(String, u64)>,
}

struct Speaker {
    identity: &'static str,
    received: Arc<Mutex<ReceivedMessages>>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Speaker {
    /// Joins, and sends messages once `all_are_in`.
    async fn start(
        server: &SignalingServer,
        (room, identity): (&str, &'static str),
        all_are_in: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let source = TokenSource::Key {
            key: KEY.0.into(),
            secret: KEY.1.into(),
        };
        let mut signal = Signal::connect(&server.url).await?;
        let token = source.token(room, identity)?;
        signal.send(json!({"type": "join", "token": token})).await?;
        let joined = clock::timeout(FAILOVER_LIMIT, signal.receive()).await??;
        anyhow::ensure!(joined["type"] == "joined", "{joined}");
        let received = Arc::<Mutex<ReceivedMessages>>::default();
        let task = tokio::spawn(talk(signal, Arc::clone(&received), all_are_in));
        Ok(Self {
            identity,
            received,
            task,
        })
    }

    fn received(&self) -> MutexGuard<'_, ReceivedMessages> {
        lock(&self.received)
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(
    mut signal: Signal,
    received: Arc<Mutex<ReceivedMessages>>,
    mut all_are_in: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    all_are_in.wait_for(|all| *all).await?;
    let mut tick = tokio::time::interval(MESSAGE_INTERVAL);
    let mut number_by_id = BTreeMap::new();
    let mut number = 0;
    loop {
        let message = tokio::select! {
            _ = tick.tick() => {
                number += 1;
                let say = json!({"type": "message", "topic": "talk", "payload": number});
                number_by_id.insert(u64::from(signal.send(say).await?), number);
                continue;
            }
            message = signal.receive() => message,
        };
        let mut received = lock(&received);
        match message {
            Ok(message) if message["type"] == "ok" => {
                let id = message["id"].as_u64().context("ok has an id")?;
                let number = *number_by_id.get(&id).context("ok to what was said")?;
                received.confirmed.insert(number, Instant::now());
            }
            Ok(message) if message["type"] == "event" => note(&mut received, &message["event"]),
            Ok(message) if message["type"] == "message" => note(&mut received, &message),
            Ok(_) => {}
            Err(error) if error.to_string().contains("store_unavailable") => received.refused += 1,
            Err(error) => return Err(error),
        }
    }
}

fn note(received: &mut ReceivedMessages, event: &Value) {
    if let (Some(who), Some(number)) = (event["identity"].as_str(), event["payload"].as_u64()) {
        received.messages.insert((who.to_owned(), number));
    }
}

/// Rooms of two participants on two servers, and the readiness of the servers.
struct TestRooms {
    servers: Arc<[SignalingServer; 2]>,
    talkers: Vec<[Speaker; 2]>,
    /// Changes of each server's readiness.
    changes: Arc<Mutex<[Vec<String>; 2]>>,
    watch: tokio::task::JoinHandle<()>,
    _media: Node,
}

/// Measurements of one failover.
struct Outcome {
    answered: usize,
    lost: usize,
    refused: usize,
    resumed: Duration,
    changes: usize,
}

impl TestRooms {
    async fn set(store: &str) -> anyhow::Result<Self> {
        let media = Node::start(1, &[]).await?;
        let servers = Arc::new([
            SignalingServer::start(&media, store).await?,
            SignalingServer::start(&media, store).await?,
        ]);
        let (all, are_in) = watch::channel(false);
        let mut talkers = Vec::new();
        for number in 0..ROOMS {
            let room = format!("room-{number}");
            talkers.push([
                Speaker::start(&servers[0], (&room, "ann"), are_in.clone()).await?,
                Speaker::start(&servers[1], (&room, "bob"), are_in.clone()).await?,
            ]);
        }
        all.send_replace(true);
        let changes = Arc::<Mutex<[Vec<String>; 2]>>::default();
        let watch = tokio::spawn(follow_readiness(Arc::clone(&servers), Arc::clone(&changes)));
        tokio::time::sleep(LOAD_AROUND).await;
        Ok(Self {
            servers,
            talkers,
            changes,
            watch,
            _media: media,
        })
    }

    /// Measurements after a failover; a master accepts writes since `accepts`.
    async fn judge(&self, accepts: Instant) -> anyhow::Result<Outcome> {
        let resumed = || {
            let last = self.talkers.iter().flatten().map(|talker| {
                let received = talker.received();
                received
                    .confirmed
                    .values()
                    .find(|at| **at > accepts)
                    .copied()
            });
            last.collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        let resumed = wait(FAILOVER_LIMIT, resumed)
            .await
            .context("nothing is confirmed any more")?;
        tokio::time::sleep(LOAD_AROUND).await;
        // Messages answered from now on are not counted.
        let until = Instant::now();
        let missing_messages = || -> usize {
            let rooms = self.talkers.iter();
            rooms
                .map(|[ann, bob]| {
                    missing_messages(ann, bob, until) + missing_messages(bob, ann, until)
                })
                .sum()
        };
        // Wait for messages in flight.
        wait(CONVERGE_LIMIT, || (missing_messages() == 0).then_some(())).await;
        for server in &*self.servers {
            let (_, said) = server.ready().await.context("the server answers")?;
            assert_eq!(said["status"], "ok", "{said}");
        }
        for talker in self.talkers.iter().flatten() {
            assert!(
                !talker.task.is_finished(),
                "{}'s conversation ended",
                talker.identity
            );
        }
        let all = || self.talkers.iter().flatten();
        Ok(Outcome {
            answered: all().map(|talker| talker.received().confirmed.len()).sum(),
            lost: missing_messages(),
            refused: all().map(|talker| talker.received().refused).sum(),
            resumed: resumed - accepts,
            changes: lock(&self.changes).iter().map(Vec::len).max().unwrap_or(0),
        })
    }
}

impl Drop for TestRooms {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Number of messages of `speaker` that were answered before `until`, and that `receiver` on the
/// other server has not received.
fn missing_messages(speaker: &Speaker, receiver: &Speaker, until: Instant) -> usize {
    let confirmed: Vec<u64> = {
        let received = speaker.received();
        let confirmed = received.confirmed.iter();
        confirmed
            .filter(|(_, at)| **at <= until)
            .map(|(number, _)| *number)
            .collect()
    };
    let received = receiver.received();
    let is_missing = |number: &&u64| {
        !received
            .messages
            .contains(&(speaker.identity.to_owned(), **number))
    };
    confirmed.iter().filter(is_missing).count()
}

async fn follow_readiness(
    servers: Arc<[SignalingServer; 2]>,
    changes: Arc<Mutex<[Vec<String>; 2]>>,
) {
    let mut last = [String::from("ok"), String::from("ok")];
    loop {
        for (index, server) in servers.iter().enumerate() {
            if let Some((_, said)) = server.ready().await {
                let status = said["status"].as_str().unwrap_or_default().to_owned();
                if status != last[index] {
                    lock(&changes)[index].push(status.clone());
                    last[index] = status;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Outcome {
    fn line(&self, case: &str) {
        println!(
            "{{\"suite\":\"redis-failover\",\"case\":\"{case}\",\"rooms\":{ROOMS},\"answered_ok\":{},\"answered_ok_and_lost\":{},\
             \"refused\":{},\"writes_after_ms\":{},\"readyz_changes\":{}}}",
            self.answered,
            self.lost,
            self.refused,
            self.resumed.as_millis(),
            self.changes,
        );
    }

    fn holds(&self) {
        assert!(self.answered > 0);
        assert!(self.resumed <= WRITES_WITHIN, "{:?}", self.resumed);
        assert!(self.changes <= 2, "readyz changed {} times", self.changes);
    }
}

/// `FAILOVER` pauses writes, so nothing is lost, even if the address follows late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_behind_one_address_loses_nothing() -> anyhow::Result<()> {
    for late in LATE {
        let master = Server::start(&["--repl-diskless-sync-delay", "0"]).await?;
        let port = master.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await?;
        let is_in_step = || {
            let view = replica.cli(&["info", "replication"]).unwrap_or_default();
            view.contains("master_link_status:up").then_some(())
        };
        wait(FAILOVER_LIMIT, is_in_step)
            .await
            .context("no replica")?;
        let address = Address::of(master.port).await?;
        let rooms = TestRooms::set(&address.url()).await?;
        master.cli(&["failover", "to", "127.0.0.1", &replica.port.to_string()])?;
        let leads = || {
            let view = replica.cli(&["info", "replication"]).unwrap_or_default();
            view.contains("role:master").then_some(())
        };
        wait(FAILOVER_LIMIT, leads).await.context("no hand-over")?;
        tokio::time::sleep(late).await;
        address.point_at(replica.port);
        let outcome = rooms.judge(Instant::now()).await?;
        outcome.line(&format!(
            "hand-over, address follows after {} ms",
            late.as_millis()
        ));
        outcome.holds();
        assert_eq!(outcome.lost, 0);
    }
    Ok(())
}

/// Sentinel promotes the replica, then the old master dies. Redis replicates after it has answered,
/// so losses are possible; they are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_followed() -> anyhow::Result<()> {
    let mut watched = SentinelSetup::start().await?;
    let rooms = TestRooms::set(&watched.url()).await?;
    watched.ask(&["sentinel", "failover", "m"])?;
    watched.leads(1, FAILOVER_LIMIT).await?;
    let outcome = rooms.judge(Instant::now()).await?;
    outcome.line("sentinel failover");
    outcome.holds();
    drop(rooms);

    watched.in_step(0).await?;
    let rooms = TestRooms::set(&watched.url()).await?;
    watched.servers[1].kill();
    watched.leads(0, FAILOVER_LIMIT).await?;
    let outcome = rooms.judge(Instant::now()).await?;
    outcome.line("master killed");
    outcome.holds();
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
