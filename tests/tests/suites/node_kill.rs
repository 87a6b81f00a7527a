//! A signaling node dies under load: its participants come back on the others, and nobody hears a thing.

use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_tests::caller::{Caller, apart};
use spillway_tests::clock::{self, wait};
use spillway_tests::node::Node;
use spillway_tests::nodes::{Balancer, SignalingNode};
use spillway_tests::redis::Server;

/// Everybody talks for as long before the node dies.
const LOAD_BEFORE: Duration = Duration::from_secs(2);
const ROOMS: usize = 6;
const EACH: usize = 3;
const RETURN_LIMIT: Duration = Duration::from_secs(5);
/// Speech is 20 ms a packet; this host has two cores for everything.
const MEDIA_GAP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_of_a_dead_node_come_back_on_another_and_miss_nothing() -> anyhow::Result<()> {
    let redis = Server::start(&[]).await?;
    let media = Node::start(1, &[]).await?;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(SignalingNode::start(&media, &redis.url()).await?);
    }
    let balancer = Balancer::start(&nodes).await?;
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
            .all(|caller| caller.diary().heard.len() == EACH - 1)
    };
    wait(Duration::from_secs(15), || all_heard(&rooms).then_some(()))
        .await
        .context("not everybody is heard")?;
    // What is said and sent before is part of what nobody may miss.
    tokio::time::sleep(LOAD_BEFORE).await;

    nodes[1].kill();
    let killed = Instant::now();
    clock::sleep(RETURN_LIMIT + Duration::from_secs(3)).await;

    let diaries: Vec<_> = rooms.iter().flatten().map(Caller::diary).collect();
    let returns: Vec<Duration> = diaries
        .iter()
        .flat_map(|diary| &diary.returns)
        .map(|(_, time)| *time)
        .collect();
    let slowest = returns.iter().max().copied().unwrap_or_default();
    let (gaps, rejoined) = diaries.iter().fold((0, 0), |(gaps, rejoined), diary| {
        (gaps + diary.gaps, rejoined + diary.rejoined)
    });
    let media_gap = diaries
        .iter()
        .flat_map(|diary| diary.heard.values())
        .map(|(_, longest)| *longest)
        .max();
    let media_gap = media_gap.context("nobody heard anybody")?;
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
    let left = diaries
        .iter()
        .flat_map(|diary| &diary.events)
        .filter(|event| event["kind"] == "participant_left")
        .count();
    println!(
        "{{\"suite\":\"node-kill\",\"participants\":{},\"returned\":{},\"slowest_return_ms\":{},\"events_missed\":{gaps},\
         \"rejoined_as_new\":{rejoined},\"left\":{left},\"longest_media_gap_ms\":{},\"host_stood_still_ms\":{},\"logs_agree\":{together}}}",
        diaries.len(),
        returns.len(),
        slowest.as_millis(),
        media_gap.as_millis(),
        clock::stood_still(killed, Instant::now()).as_millis(),
    );
    assert!(
        returns.len() >= ROOMS * EACH / 6,
        "only {} were on the dead node",
        returns.len()
    );
    assert!(slowest <= RETURN_LIMIT, "{slowest:?}");
    assert_eq!((gaps, rejoined, left), (0, 0, 0));
    assert!(media_gap <= MEDIA_GAP, "{media_gap:?}");
    assert!(together, "the logs of a room differ");
    Ok(())
}
