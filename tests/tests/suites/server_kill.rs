//! Servers are killed, or lose the store, under load. Participants resume, sessions of absent ones
//! are closed, and no participant is removed during a call.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use spillway_tests::caller::{Caller, CallerLog, apart};
use spillway_tests::clock::{self, wait};
use spillway_tests::node::Node;
use spillway_tests::redis::Server;
use spillway_tests::servers::{Balancer, SignalingServer};
use spillway_wire::dataplane as proto;

/// Time with messages before the server is killed.
const LOAD_BEFORE: Duration = Duration::from_secs(2);
const ROOMS: usize = 6;
const EACH: usize = 3;
const RETURN_LIMIT: Duration = Duration::from_secs(5);
/// Permitted pause of audio (20 ms per packet), on a host with two cores for everything.
const MEDIA_GAP: Duration = Duration::from_millis(500);

/// `grace-seconds` of the servers.
const GRACE: Duration = Duration::from_secs(5);
/// Time limit until the old sessions of a rejoined participant end; much shorter than the lease.
const REPLACED_WITHIN: Duration = Duration::from_secs(3);
/// Lease time beyond the grace time, plus the interval of renewals and a margin for a busy host.
const LEASE_MARGIN: Duration = Duration::from_secs(8 + 2 + 5);
/// Presence in the store lasts 30 s and is checked every 10 s.
const LEFT_WITHIN: Duration = Duration::from_secs(60);
const OUTAGE: Duration = Duration::from_secs(60);
const CALL_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_die_and_nobody_who_talks_is_removed_nor_anything_left_behind() -> anyhow::Result<()>
{
    let (away, cut, alone) = tokio::try_join!(stay_away(), cut_off(), only_server())?;
    let returned = come_back().await?;
    println!(
        "{}",
        json!({"suite": "server-kill", "come_back": returned, "stay_away": away, "cut_off_from_redis": cut, "only_server_down": alone})
    );
    Ok(())
}

/// Participants of a killed server do not return: their sessions end after the grace time, the
/// others' sessions do not.
async fn stay_away() -> anyhow::Result<Value> {
    let redis = Server::start(&[]).await?;
    let mut media = Node::start(1, &[]).await?;
    let flags = ["--grace-seconds", &GRACE.as_secs().to_string()];
    let mut dies = SignalingServer::start_with(&media, &redis.url(), &flags).await?;
    let lives = SignalingServer::start_with(&media, &redis.url(), &flags).await?;
    let gone = callers(&dies, "away", &["a", "b", "c", "d"]).await?;
    let stay = callers(&lives, "away", &["e", "f"]).await?;
    heard_by_all(gone.iter().chain(&stay), 5).await?;
    let theirs = |caller: &Caller| caller.log().participant;
    let ids: Vec<String> = gone.iter().map(theirs).collect();
    let before = sessions(&mut media).await?.len();
    dies.kill();
    drop(gone);
    let killed = Instant::now();
    // One of them joins again on another server: its old sessions end before the lease.
    let anew = Caller::start(&lives.url, "away", "a", true).await?;
    let is_of_a = |name: &&String| name.starts_with(ids[0].as_str());
    let mut replaced = usize::MAX;
    while replaced > 0 && clock::ran_since(killed) < REPLACED_WITHIN {
        replaced = sessions(&mut media).await?.iter().filter(is_of_a).count();
    }
    let is_left = |name: &&String| ids.iter().any(|id| name.starts_with(id.as_str()));
    let mut left;
    loop {
        left = sessions(&mut media).await?.iter().filter(is_left).count();
        if left == 0 || clock::ran_since(killed) > GRACE + LEASE_MARGIN {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = clock::ran_since(killed);
    let others_left = || {
        let leavers = stay.iter().map(leavers);
        leavers.min().filter(|count| *count == ids.len())
    };
    let told = wait(LEFT_WITHIN, others_left).await.is_some();
    let told_after = clock::ran_since(killed);
    let after = sessions(&mut media).await?.len();
    let figures = json!({
        "sessions_before": before, "sessions_left_of_who_joined_anew": replaced, "sessions_left": left, "sessions_gone_after_ms": took.as_millis(),
        "sessions_of_others": after, "told_that_they_left": told, "told_after_ms": told_after.as_millis(),
    });
    let stayed = 2 * (stay.len() + 1);
    anyhow::ensure!(
        replaced == 0 && left == 0 && told && after == stayed,
        "{figures}"
    );
    drop(anew);
    Ok(figures)
}

/// A server reaches the data plane, but not the store: its participants continue, and other servers
/// do not remove them.
async fn cut_off() -> anyhow::Result<Value> {
    let redis = Server::start(&["--bind", "127.0.0.1", CUT_ADDRESS]).await?;
    let mut media = Node::start(1, &[]).await?;
    let flags = ["--grace-seconds", &GRACE.as_secs().to_string()];
    let path = format!("redis://{CUT_ADDRESS}:{}", redis.port);
    let cut = SignalingServer::start_with(&media, &path, &flags).await?;
    let sees = SignalingServer::start_with(&media, &redis.url(), &flags).await?;
    let mut people = callers(&cut, "cut", &["a", "b"]).await?;
    people.extend(callers(&sees, "cut", &["c", "d"]).await?);
    heard_by_all(people.iter(), 3).await?;
    let before = sessions(&mut media).await?;
    {
        let _wall = Firewall::between(redis.port)?;
        clock::sleep(OUTAGE).await;
    }
    let figures = undisturbed(&mut people, before, &mut media).await?;
    anyhow::ensure!(
        figures["removed_while_talking"] == 0 && figures["sessions_ended"] == 0,
        "{figures}"
    );
    Ok(figures)
}

/// The only server is down for a minute.
async fn only_server() -> anyhow::Result<Value> {
    let redis = Server::start(&[]).await?;
    let mut media = Node::start(1, &[]).await?;
    let flags = ["--grace-seconds", &GRACE.as_secs().to_string()];
    let mut server = SignalingServer::start_with(&media, &redis.url(), &flags).await?;
    let mut people = callers(&server, "alone", &["a", "b", "c"]).await?;
    heard_by_all(people.iter(), 2).await?;
    let before = sessions(&mut media).await?;
    server.kill();
    clock::sleep(OUTAGE).await;
    let listen = server.url.trim_start_matches("http://");
    let _server = SignalingServer::start_at(listen, &media, &redis.url(), &flags).await?;
    let back = || {
        people
            .iter()
            .all(|caller| !caller.log().returns.is_empty())
            .then_some(())
    };
    wait(CALL_LIMIT, back)
        .await
        .context("not everybody came back")?;
    // Wait as long as any lease that was not taken over.
    clock::sleep(GRACE + LEASE_MARGIN).await;
    let figures = undisturbed(&mut people, before, &mut media).await?;
    anyhow::ensure!(
        figures["removed_while_talking"] == 0 && figures["sessions_ended"] == 0,
        "{figures}"
    );
    Ok(figures)
}

async fn callers(
    server: &SignalingServer,
    room: &str,
    identities: &[&str],
) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for identity in identities {
        callers.push(Caller::start(&server.url, room, identity, true).await?);
    }
    Ok(callers)
}

async fn heard_by_all(
    callers: impl Iterator<Item = &Caller> + Clone,
    others: usize,
) -> anyhow::Result<()> {
    let hears = |caller: &Caller| caller.log().heard.len() == others;
    let all = || callers.clone().all(hears).then_some(());
    wait(CALL_LIMIT, all)
        .await
        .context("not everybody is heard")
}

/// Names of the sessions that the data plane has.
async fn sessions(media: &mut Node) -> anyhow::Result<BTreeSet<String>> {
    let state = media.client.get_state(proto::GetStateRequest::default());
    let sessions = state.await?.into_inner().sessions;
    Ok(sessions
        .into_iter()
        .map(|session| session.session)
        .collect())
}

/// Number of other participants that left, in the events that `caller` received.
fn leavers(caller: &Caller) -> usize {
    let events = caller.log().events;
    let left = events
        .iter()
        .filter(|event| event["kind"] == "participant_left");
    left.count()
}

/// Effect of an outage on participants that keep sending, and on their sessions.
async fn undisturbed(
    people: &mut [Caller],
    before: BTreeSet<String>,
    media: &mut Node,
) -> anyhow::Result<Value> {
    for caller in people.iter_mut() {
        if let Some(why) = caller.failed().await {
            anyhow::bail!("{} gave up: {why}", caller.identity);
        }
    }
    let after = sessions(media).await?;
    let rejoined: usize = people.iter().map(|caller| caller.log().rejoined).sum();
    let removed: usize = people.iter().map(leavers).max().unwrap_or(0);
    let heard = people.iter().flat_map(|caller| caller.log().heard);
    let gap = heard.map(|(_, (_, longest))| longest).max();
    Ok(json!({
        "people": people.len(), "removed_while_talking": removed + rejoined,
        "sessions_ended": before.difference(&after).count(),
        "longest_media_gap_ms": gap.unwrap_or_default().as_millis(),
    }))
}

/// Address under which the separated server reaches Redis.
const CUT_ADDRESS: &str = "127.0.0.2";

/// Firewall rule: no packet passes between [`CUT_ADDRESS`] and Redis until it is dropped.
struct Firewall {
    table: String,
}

impl Firewall {
    fn between(port: u16) -> anyhow::Result<Self> {
        let table = format!("spillway_wall_{}", std::process::id());
        let firewall = Self { table };
        let rules = format!(
            "table ip {} {{ chain cut {{ type filter hook output priority 0; \
               ip daddr {CUT_ADDRESS} tcp dport {port} drop; \
               ip saddr {CUT_ADDRESS} tcp sport {port} drop; }}; }}",
            firewall.table
        );
        let status = Command::new("nft").arg(rules).status();
        let status = status.context("cannot run nft: is nftables installed?")?;
        anyhow::ensure!(status.success(), "nft refuses the rules: is this root?");
        Ok(firewall)
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let table = ["delete", "table", "ip", &self.table];
        // Fails only if the table is gone.
        let _ = Command::new("nft").args(table).status();
    }
}

/// Participants of a killed server resume on the others, without a pause of media.
async fn come_back() -> anyhow::Result<Value> {
    let redis = Server::start(&[]).await?;
    let media = Node::start(1, &[]).await?;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(SignalingServer::start(&media, &redis.url()).await?);
    }
    let balancer = Balancer::start(&servers).await?;
    let mut rooms = Vec::new();
    for room in 0..ROOMS {
        let mut callers = Vec::new();
        for number in 0..EACH {
            let (room, identity) = (format!("room-{room}"), format!("c{number}"));
            callers.push(Caller::start(&balancer.url, &room, &identity, true).await?);
        }
        rooms.push(callers);
    }
    let all_heard = |rooms: &[Vec<Caller>]| {
        rooms
            .iter()
            .flatten()
            .all(|caller| caller.log().heard.len() == EACH - 1)
    };
    wait(Duration::from_secs(15), || all_heard(&rooms).then_some(()))
        .await
        .context("not everybody is heard")?;
    // Messages and media from before the kill must not be lost.
    tokio::time::sleep(LOAD_BEFORE).await;

    servers[1].kill();
    let killed = Instant::now();
    clock::sleep(RETURN_LIMIT + Duration::from_secs(3)).await;

    let diaries: Vec<_> = rooms.iter().flatten().map(Caller::log).collect();
    for caller in rooms.iter_mut().flatten() {
        assert_eq!(caller.failed().await, None, "{}", caller.identity);
    }
    let together = wait(RETURN_LIMIT, || {
        let differ: Vec<_> = rooms
            .iter()
            .flat_map(|room| apart(&room.iter().collect::<Vec<_>>()))
            .collect();
        differ.is_empty().then_some(())
    });
    let together = together.await.is_some();
    judge(&diaries, together, killed)
}

/// Effect of the server's death on its participants.
fn judge(diaries: &[CallerLog], together: bool, killed: Instant) -> anyhow::Result<Value> {
    let returns: Vec<Duration> = diaries
        .iter()
        .flat_map(|log| &log.returns)
        .map(|(_, time)| *time)
        .collect();
    let slowest = returns.iter().max().copied().unwrap_or_default();
    let (gaps, rejoined) = diaries.iter().fold((0, 0), |(gaps, rejoined), log| {
        (gaps + log.gaps, rejoined + log.rejoined)
    });
    let media_gap = diaries
        .iter()
        .flat_map(|log| log.heard.values())
        .map(|(_, longest)| *longest)
        .max();
    let media_gap = media_gap.context("nobody heard anybody")?;
    let left = diaries
        .iter()
        .flat_map(|log| &log.events)
        .filter(|event| event["kind"] == "participant_left")
        .count();
    let figures = json!({
        "participants": diaries.len(), "returned": returns.len(), "slowest_return_ms": slowest.as_millis(),
        "events_missed": gaps, "rejoined_as_new": rejoined, "left": left,
        "longest_media_gap_ms": media_gap.as_millis(),
        "host_stood_still_ms": clock::standstill(killed, Instant::now()).as_millis(),
        "logs_agree": together,
    });
    assert!(
        returns.len() >= ROOMS * EACH / 6,
        "only {} were on the dead server",
        returns.len()
    );
    assert!(slowest <= RETURN_LIMIT, "{slowest:?}");
    assert_eq!((gaps, rejoined, left), (0, 0, 0));
    assert!(media_gap <= MEDIA_GAP, "{media_gap:?}");
    assert!(together, "the logs of a room differ");
    Ok(figures)
}
