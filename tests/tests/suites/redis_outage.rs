//! Redis is killed during calls, and restarts empty after a minute. The calls are not affected, and
//! all participants end with the same state.

use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_tests::caller::{Caller, apart};
use spillway_tests::clock::{self, ran_since, wait};
use spillway_tests::node::Node;
use spillway_tests::redis::Server;
use spillway_tests::servers::SignalingServer;

/// Time limit for servers to report that the store is unavailable.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);
/// Time with messages before and after the outage.
const LOAD_AROUND: Duration = Duration::from_secs(2);
const ROOMS: usize = 50;
/// Number of rooms with a join during the outage.
const JOINED: usize = 5;
const OUTAGE: Duration = Duration::from_secs(60);
const CONVERGE_LIMIT: Duration = Duration::from_secs(5);
const MEDIA_GAP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_outlive_a_minute_without_redis_and_everybody_converges() -> anyhow::Result<()> {
    let mut redis = Server::start(&[]).await?;
    let media = Node::start(1, &[]).await?;
    let servers = [
        SignalingServer::start(&media, &redis.url()).await?,
        SignalingServer::start(&media, &redis.url()).await?,
    ];
    let mut rooms = calls(&servers).await?;

    redis.kill();
    let down = Instant::now();
    tokio::time::sleep(NOTICED_WITHIN).await;
    for server in &servers {
        let (code, said) = server.ready().await.context("the server answers")?;
        assert_eq!(
            (code, said["status"].as_str()),
            (200, Some("degraded")),
            "{said}"
        );
        assert!(server.healthy().await);
    }
    let joined = join_meanwhile(&servers, &mut rooms).await?;
    tokio::time::sleep(OUTAGE.saturating_sub(down.elapsed())).await;

    redis.restart().await?;
    let up = Instant::now();
    let mut differ = Vec::new();
    let agree = || {
        differ = rooms
            .iter()
            .flat_map(|room| apart(&room.iter().collect::<Vec<_>>()))
            .collect();
        differ.is_empty().then_some(())
    };
    let converged = wait(CONVERGE_LIMIT, agree).await.is_some();
    let took = ran_since(up);
    for server in &servers {
        let (_, said) = server.ready().await.context("the server answers")?;
        assert_eq!(said["status"], "ok", "{said}");
    }
    // Events that arrive late after the end of the outage would be missing, too.
    tokio::time::sleep(LOAD_AROUND).await;
    for caller in rooms.iter_mut().flatten() {
        assert_eq!(caller.failed().await, None, "{}", caller.identity);
    }
    judge(&rooms, joined, (down, took))?;
    assert!(converged, "apart after {took:?}: {differ:?}");
    Ok(())
}

/// Rooms of two participants with audio. Half of the rooms span both servers.
async fn calls(servers: &[SignalingServer; 2]) -> anyhow::Result<Vec<Vec<Caller>>> {
    let mut rooms: Vec<Vec<Caller>> = Vec::new();
    for number in 0..ROOMS {
        let room = format!("room-{number}");
        let ann = Caller::start(&servers[0].url, &room, "ann", true).await?;
        let bob = Caller::start(&servers[number % 2].url, &room, "bob", true).await?;
        rooms.push(vec![ann, bob]);
    }
    let all_hear = || {
        let mut callers = rooms.iter().flatten();
        let all = callers.all(|caller| !caller.log().heard.is_empty());
        all.then_some(())
    };
    let heard = wait(Duration::from_secs(30), all_hear).await;
    heard.context("not everybody is heard")?;
    tokio::time::sleep(LOAD_AROUND).await;
    Ok(rooms)
}

/// Joins rooms during the outage: rooms that are open on the server accept joins, others refuse
/// them with `retry`.
async fn join_meanwhile(
    servers: &[SignalingServer; 2],
    rooms: &mut [Vec<Caller>],
) -> anyhow::Result<usize> {
    let mut joined = 0;
    for (number, room) in rooms.iter_mut().enumerate().take(JOINED) {
        let late = Caller::start(&servers[0].url, &format!("room-{number}"), "late", false).await?;
        assert_eq!(late.log().others.len(), 2, "both are listed");
        room.push(late);
        joined += 1;
    }
    let seen = || {
        let mut joined = rooms[..JOINED].iter();
        let all = joined.all(|room| room[0].log().others.contains("late"));
        all.then_some(())
    };
    let seen = wait(Duration::from_secs(2), seen).await;
    seen.context("those on the same server see who came")?;
    let unknown = Caller::start(&servers[0].url, "a-room-nobody-knows", "eve", false).await;
    let refusal = unknown
        .err()
        .context("a room nobody knows cannot be opened")?;
    let said = format!("{refusal:#}");
    assert!(said.contains("store_unavailable"), "{said}");
    Ok(joined)
}

fn judge(
    rooms: &[Vec<Caller>],
    joined: usize,
    (down, took): (Instant, Duration),
) -> anyhow::Result<()> {
    let diaries: Vec<_> = rooms.iter().flatten().map(Caller::log).collect();
    let ended = diaries.iter().filter(|log| log.rejoined > 0).count();
    let gaps: usize = diaries.iter().map(|log| log.gaps).sum();
    let resyncs: usize = diaries.iter().map(|log| log.resyncs).sum();
    let broken: Vec<_> = diaries.iter().flat_map(|log| &log.returns).collect();
    let events = diaries.iter().flat_map(|log| &log.events);
    let left = events
        .filter(|event| event["kind"] == "participant_left")
        .count();
    let silences = diaries.iter().flat_map(|log| log.heard.values());
    let longest = silences.map(|(_, longest)| *longest).max();
    let longest = longest.context("nobody heard anybody")?;
    println!(
        "{{\"suite\":\"redis-outage\",\"rooms\":{ROOMS},\"outage_s\":{},\"rooms_ended\":{ended},\"left\":{left},\
         \"joins_served\":{joined},\"longest_media_gap_ms\":{},\"converged_ms\":{},\"events_missed\":{gaps},\
         \"told_to_resync\":{resyncs},\"sockets_broken\":{},\"host_stood_still_ms\":{}}}",
        OUTAGE.as_secs(),
        longest.as_millis(),
        took.as_millis(),
        broken.len(),
        clock::standstill(down, Instant::now()).as_millis(),
    );
    assert_eq!((ended, left, gaps), (0, 0, 0));
    assert!(broken.is_empty(), "sockets broke: {broken:?}");
    assert!(longest <= MEDIA_GAP, "{longest:?}");
    Ok(())
}
