//! Redis dies under running calls, for a minute, and comes back empty: calls do not notice, and everybody
//! ends up knowing the same.

use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_tests::node::Node;
use spillway_tests::redis::Server;
use spillway_tests::signaling::{Caller, SignalingNode, apart};

const ROOMS: usize = 50;
/// Rooms that somebody joins during the outage.
const JOINED: usize = 5;
const OUTAGE: Duration = Duration::from_secs(60);
const CONVERGE_LIMIT: Duration = Duration::from_secs(5);
const MEDIA_GAP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_outlive_a_minute_without_redis_and_everybody_converges() -> anyhow::Result<()> {
    let mut redis = Server::start(&[]).await?;
    let media = Node::start(1, &[]).await?;
    let nodes = [
        SignalingNode::start(&media, &redis.url()).await?,
        SignalingNode::start(&media, &redis.url()).await?,
    ];
    let mut rooms: Vec<Vec<Caller>> = Vec::new();
    for number in 0..ROOMS {
        let room = format!("room-{number}");
        let ann = Caller::start(&nodes[0].url, &room, "ann", true).await?;
        // Half of the rooms span both nodes.
        let bob = Caller::start(&nodes[number % 2].url, &room, "bob", true).await?;
        rooms.push(vec![ann, bob]);
    }
    let all_hear = || {
        rooms
            .iter()
            .flatten()
            .all(|caller| !caller.diary().heard.is_empty())
    };
    anyhow::ensure!(
        wait(Duration::from_secs(30), all_hear).await,
        "not everybody is heard"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;

    redis.kill();
    let down = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in &nodes {
        let (code, said) = node.ready().await.context("the node answers")?;
        assert_eq!(
            (code, said["status"].as_str()),
            (200, Some("degraded")),
            "{said}"
        );
        assert!(node.healthy().await);
    }
    let mut joined = 0;
    for (number, room) in rooms.iter_mut().enumerate().take(JOINED) {
        let late = Caller::start(&nodes[0].url, &format!("room-{number}"), "late", false).await?;
        assert_eq!(late.diary().others.len(), 2, "both are listed");
        room.push(late);
        joined += 1;
    }
    let seen = || {
        rooms[..JOINED]
            .iter()
            .all(|room| room[0].diary().others.contains("late"))
    };
    assert!(
        wait(Duration::from_secs(2), seen).await,
        "those on the same node see who came"
    );
    let unknown = Caller::start(&nodes[0].url, "a-room-nobody-knows", "eve", false).await;
    let said = format!(
        "{:#}",
        unknown
            .err()
            .context("a room nobody knows cannot be opened")?
    );
    assert!(said.contains("store_unavailable"), "{said}");
    tokio::time::sleep(OUTAGE.saturating_sub(down.elapsed())).await;

    redis.restart().await?;
    let up = Instant::now();
    let mut differ = Vec::new();
    let agree = || {
        differ = rooms
            .iter()
            .flat_map(|room| apart(&room.iter().collect::<Vec<_>>()))
            .collect();
        differ.is_empty()
    };
    let converged = wait(CONVERGE_LIMIT, agree).await;
    let took = up.elapsed();
    for node in &nodes {
        let (_, said) = node.ready().await.context("the node answers")?;
        assert_eq!(said["status"], "ok", "{said}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let diaries: Vec<_> = rooms.iter().flatten().map(Caller::diary).collect();
    let ended = diaries.iter().filter(|diary| diary.rejoined > 0).count();
    let gaps: usize = diaries.iter().map(|diary| diary.gaps).sum();
    let resyncs: usize = diaries.iter().map(|diary| diary.resyncs).sum();
    let broken: Vec<_> = diaries.iter().flat_map(|diary| &diary.returns).collect();
    let returns = broken.len();
    let left = diaries
        .iter()
        .flat_map(|diary| &diary.events)
        .filter(|event| event["kind"] == "participant_left");
    let left = left.count();
    let longest = diaries
        .iter()
        .flat_map(|diary| diary.heard.values())
        .map(|(_, longest)| *longest)
        .max();
    let longest = longest.context("nobody heard anybody")?;
    println!(
        "{{\"suite\":\"redis-outage\",\"rooms\":{ROOMS},\"outage_s\":{},\"rooms_ended\":{ended},\"left\":{left},\
         \"joins_served\":{joined},\"longest_media_gap_ms\":{},\"converged_ms\":{},\"converged\":{converged},\
         \"events_missed\":{gaps},\"told_to_resync\":{resyncs},\"sockets_broken\":{returns}}}",
        OUTAGE.as_secs(),
        longest.as_millis(),
        took.as_millis(),
    );
    for caller in rooms.iter_mut().flatten() {
        assert_eq!(caller.failed().await, None, "{}", caller.identity);
    }
    assert!(converged, "apart after {took:?}: {differ:?}");
    assert_eq!((ended, left, gaps), (0, 0, 0));
    assert!(broken.is_empty(), "sockets broke: {broken:?}");
    assert!(longest <= MEDIA_GAP, "{longest:?}");
    Ok(())
}

async fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + limit;
    while !done() {
        if Instant::now() >= give_up {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}
