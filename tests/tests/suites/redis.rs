//! The store on one Redis server: the tests of every store, and outages of the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_controlplane::history::Ephemeral;
use spillway_controlplane::history::{Entry, Missed};
use spillway_controlplane::metrics::StoreMetrics;
use spillway_controlplane::store::redis::{RedisServers, RedisStore};
use spillway_controlplane::store::{Opened, RoomUpdate, Store, StoreError, Stored, suite};
use spillway_tests::clock::{self, ran_since};
use spillway_tests::redis::Server;
use spillway_tests::sentinel::Address;

/// Rights are checked every 3 s.
const RIGHTS_LIMIT: Duration = Duration::from_secs(10);
/// Time for more than one attempt to fail: the store stays degraded between attempts.
const DEGRADED_TIME: Duration = Duration::from_secs(1);
const CONVERGE_LIMIT: Duration = Duration::from_secs(5);

async fn store(server: &Server) -> anyhow::Result<RedisStore> {
    Ok(RedisStore::connect(&RedisServers::at(&[server.url()]), StoreMetrics::default()).await?)
}

fn room() -> spillway_controlplane::ids::RoomName {
    let name = format!("room-{}", fastrand::u64(..));
    name.parse().expect("letters and digits are a name")
}

async fn next(opened: &mut Opened) -> anyhow::Result<Arc<Entry>> {
    loop {
        let update = clock::timeout(CONVERGE_LIMIT, opened.updates.recv()).await;
        match update
            .context("nothing came")?
            .context("the reader was cut off")?
        {
            RoomUpdate::Entry(entry) => return Ok(entry),
            RoomUpdate::Message(_) | RoomUpdate::Taken(_) => {}
        }
    }
}

async fn until_up(store: &RedisStore) -> anyhow::Result<Duration> {
    let start = Instant::now();
    while store.degraded().is_some() {
        anyhow::ensure!(
            ran_since(start) < CONVERGE_LIMIT,
            "still degraded: {:?}",
            store.degraded()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(ran_since(start))
}

#[tokio::test]
async fn it_passes_the_suite_of_every_store() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    suite::run(&store(&server).await?).await;
    let keys = server.cli(&["keys", "*"])?;
    for key in keys.lines() {
        let life: i64 = server.cli(&["ttl", key])?.trim().parse()?;
        assert!(life > 0, "{key} has no TTL");
    }
    Ok(())
}

#[tokio::test]
async fn two_nodes_see_one_history() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut first = one.open(&room).await?;
    let mut second = two.open(&room).await?;
    assert_eq!(first.epoch, second.epoch);
    let writes = (0..200).map(|number| {
        let store = if number % 2 == 0 { &one } else { &two };
        store.append(&room, suite::note(number))
    });
    let offsets = futures_util::future::try_join_all(writes).await?;
    assert_eq!(offsets.len(), 200);
    for offset in 1..=200 {
        let (left, right) = (next(&mut first).await?, next(&mut second).await?);
        assert_eq!((left.offset, &left.event), (offset, &right.event));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_kept_while_others_write_and_no_history_starts_over() -> anyhow::Result<()> {
    const EVENTS: usize = 3_000;
    let server = Server::start(&[]).await?;
    let (reader, writer) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut opened = reader.open(&room).await?;
    let ann = suite::participant("ann");
    reader.append(&room, suite::joined(&ann)).await?;
    writer.open(&room).await?;
    let writing = async {
        for number in 0..EVENTS {
            writer.append(&room, suite::note(number)).await?;
        }
        anyhow::Ok(())
    };
    let touching = async {
        for _ in 0..EVENTS {
            let present = [ann.participant.clone()];
            reader
                .touch(&room, &present, Duration::from_secs(30))
                .await?;
        }
        anyhow::Ok(())
    };
    let following = async {
        for offset in 1..=EVENTS as u64 + 1 {
            anyhow::ensure!(next(&mut opened).await?.offset == offset);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(writing, touching, following)?;
    Ok(())
}

#[tokio::test]
async fn a_participant_is_told_of_and_left_to_the_node_that_claims_it() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut first = one.open(&room).await?;
    let _second = two.open(&room).await?;
    let ann = suite::participant("ann");
    one.append(&room, suite::joined(&ann)).await?;
    next(&mut first).await?;
    two.claim(&room, &ann.participant).await?;
    let update = clock::timeout(CONVERGE_LIMIT, first.updates.recv()).await?;
    assert_eq!(update, Some(RoomUpdate::Taken(ann.participant.clone())));
    let ours = suite::left_if_ours(&ann);
    let refused = one.append(&room, ours.clone()).await;
    assert_eq!(refused, Err(StoreError::NotOurs(ann.participant.clone())));
    assert_eq!(two.append(&room, ours).await, Ok(2));
    Ok(())
}

#[tokio::test]
async fn rooms_go_on_without_redis_and_are_told_when_it_comes_back_empty() -> anyhow::Result<()> {
    let mut server = Server::start(&[]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let (shared, other) = (room(), room());
    let mut first = one.open(&shared).await?;
    let mut second = two.open(&shared).await?;
    let ann = suite::participant("ann");
    one.append(&shared, suite::joined(&ann)).await?;
    next(&mut first).await?;
    next(&mut second).await?;
    server.kill();

    for number in 0..10 {
        let started = Instant::now();
        assert_eq!(
            one.append(&shared, suite::note(number)).await?,
            2 + number as u64
        );
        assert!(
            ran_since(started) < Duration::from_secs(2),
            "{:?}",
            ran_since(started)
        );
        assert_eq!(next(&mut first).await?.offset, 2 + number as u64);
    }
    let reopened = one.open(&shared).await?;
    assert_eq!(
        (reopened.offset, reopened.participants.len()),
        (11, 1),
        "a known room can be joined"
    );
    let unknown = one.open(&other).await;
    assert!(
        matches!(unknown, Err(StoreError::Unavailable(_))),
        "{unknown:?}"
    );
    tokio::time::sleep(DEGRADED_TIME).await;
    assert!(one.degraded().is_some());

    server.restart().await?;
    until_up(&one).await?;
    until_up(&two).await?;
    // The other server receives the events of the outage with the same offsets.
    for offset in 2..=11 {
        assert_eq!(next(&mut second).await?.offset, offset);
    }
    let third = store(&server).await?;
    let opened = third.open(&shared).await?;
    assert_eq!((&opened.epoch, opened.offset), (&first.epoch, 11));
    assert_eq!(opened.participants, [ann]);
    let missed = third.since(&shared, &first.epoch, 1).await?;
    assert!(matches!(missed, Missed::Entries(entries) if entries.len() == 10));
    Ok(())
}

#[tokio::test]
async fn two_servers_without_redis_end_with_one_history_and_all_readers_resync()
-> anyhow::Result<()> {
    let mut server = Server::start(&[]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut first = one.open(&room).await?;
    let mut second = two.open(&room).await?;
    server.kill();
    let (ann, bob) = (suite::participant("ann"), suite::participant("bob"));
    assert_eq!(one.append(&room, suite::joined(&ann)).await?, 1);
    assert_eq!(two.append(&room, suite::joined(&bob)).await?, 1);
    server.restart().await?;
    until_up(&one).await?;
    until_up(&two).await?;
    let start = Instant::now();
    loop {
        let (left, right) = (one.open(&room).await, two.open(&room).await);
        if let (Ok(left), Ok(right)) = (left, right) {
            let both = |opened: &Opened| opened.participants.len() == 2;
            if left.epoch == right.epoch
                && left.offset == right.offset
                && both(&left)
                && both(&right)
            {
                assert_ne!(
                    left.epoch, first.epoch,
                    "readers with the old numbers are told"
                );
                break;
            }
        }
        anyhow::ensure!(
            ran_since(start) < CONVERGE_LIMIT,
            "the histories stay apart"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut ends = 0;
    for opened in [&mut first, &mut second] {
        while let Ok(Some(_)) = clock::timeout(CONVERGE_LIMIT, opened.updates.recv()).await {}
        ends += usize::from(opened.updates.is_closed());
    }
    assert_eq!(ends, 2, "both readers come back");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_named() -> anyhow::Result<()> {
    let secret = Server::start(&["--requirepass", "right"]).await?;
    let url = format!("redis://:wrong@127.0.0.1:{}", secret.port);
    for url in [url, secret.url()] {
        let refused = RedisStore::connect(&RedisServers::at(&[url]), StoreMetrics::default()).await;
        let said = refused
            .err()
            .context("a wrong password is refused")?
            .to_string();
        assert!(
            !said.contains("wrong@") && said.contains(&secret.port.to_string()),
            "{said}"
        );
    }
    let master = Server::start(&[]).await?;
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await?;
    let refused =
        RedisStore::connect(&RedisServers::at(&[replica.url()]), StoreMetrics::default()).await;
    let said = refused.err().context("a replica is refused")?.to_string();
    assert!(said.contains("read-only replica"), "{said}");
    let refused = RedisStore::connect(
        &RedisServers::at(&["http://x".into()]),
        StoreMetrics::default(),
    )
    .await;
    assert!(refused.is_err());
    Ok(())
}

/// Creates the user of the documentation, without some of its rights.
async fn set_user(server: &Server, without: &[&str]) -> anyhow::Result<String> {
    let docs = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/operating/many-servers.md"
    ))?;
    let line = docs
        .lines()
        .find(|line| line.starts_with("ACL SETUSER spillway "));
    let line = line.context("no such line")?;
    let words: Vec<&str> = line
        .split(' ')
        .filter(|word| !without.contains(word))
        .collect();
    server.cli(&words)?;
    Ok(format!(
        "redis://spillway:PASSWORD@127.0.0.1:{}",
        server.port
    ))
}

#[tokio::test]
async fn the_documented_user_may_do_what_is_needed_and_each_right_that_is_missing_is_named()
-> anyhow::Result<()> {
    let server = Server::start(&["--acl-pubsub-default", "resetchannels"]).await?;
    let servers = RedisServers::at(&[set_user(&server, &[]).await?]);
    suite::run(&RedisStore::connect(&servers, StoreMetrics::default()).await?).await;
    for missing in [
        &["&spillway:1:*"][..],
        &["~spillway:1:*"],
        &["+xadd"],
        &["+spublish"],
        &["+ssubscribe"],
        &["+evalsha"],
        &["+cluster|slots"],
        &["+hvals", "+zrem", "&spillway:1:*"],
    ] {
        set_user(&server, missing).await?;
        let refused = RedisStore::connect(&servers, StoreMetrics::default()).await;
        let said = refused.err().context("it is refused")?.to_string();
        assert!(said.contains("ACL SETUSER spillway "), "{said}");
        for rule in missing {
            assert!(said.contains(rule), "{rule}: {said}");
        }
        assert!(!said.contains("PASSWORD"), "{said}");
        // The rules in the error are sufficient.
        let words: Vec<&str> = said
            .rsplit("ACL SETUSER ")
            .next()
            .context("no rule")?
            .split(' ')
            .collect();
        server.cli(&[&["acl", "setuser"], &words[..]].concat())?;
        RedisStore::connect(&servers, StoreMetrics::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn rights_that_are_lost_later_are_told_of_and_come_back() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let servers = RedisServers::at(&[set_user(&server, &[]).await?]);
    let metrics = StoreMetrics::default();
    let (one, two) = (
        RedisStore::connect(&servers, metrics.clone()).await?,
        RedisStore::connect(&servers, StoreMetrics::default()).await?,
    );
    let room = room();
    let mut opened = one.open(&room).await?;
    let mut other = two.open(&room).await?;
    for missing in ["+xadd", "+spublish", "&spillway:1:*", "~spillway:1:*"] {
        set_user(&server, &[missing]).await?;
        let said = || one.degraded().filter(|said| said.contains(missing));
        let said = clock::wait(RIGHTS_LIMIT, said).await;
        said.with_context(|| format!("{missing} is not reported: {:?}", one.degraded()))?;
        let meanwhile = one.append_event(&room, suite::note(1)).await?;
        let Stored::Later(stored) = meanwhile.stored else {
            anyhow::bail!("{missing}: it is said to be stored");
        };
        // Meanwhile the store must stay degraded.
        for _ in 0..20 {
            assert!(one.degraded().is_some(), "{missing}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        set_user(&server, &[]).await?;
        until_up(&one).await?;
        until_up(&two).await?;
        clock::timeout(CONVERGE_LIMIT, stored).await??;
        let (here, there) = (next(&mut opened).await?, next(&mut other).await?);
        assert_eq!(here.event, there.event, "{missing}");
    }
    Ok(())
}

/// A demoted server keeps its connections open, and answers READONLY.
#[tokio::test]
async fn a_demoted_master_is_left_for_whatever_is_at_its_address() -> anyhow::Result<()> {
    let (old, new) = (Server::start(&[]).await?, Server::start(&[]).await?);
    let address = Address::of(old.port).await?;
    let servers = RedisServers::at(&[address.url()]);
    let metrics = StoreMetrics::default();
    let (one, two) = (
        RedisStore::connect(&servers, metrics.clone()).await?,
        RedisStore::connect(&servers, StoreMetrics::default()).await?,
    );
    let room = room();
    let mut first = one.open(&room).await?;
    let mut second = two.open(&room).await?;
    one.append(&room, suite::note(1)).await?;
    assert_eq!(next(&mut second).await?.offset, 1);
    next(&mut first).await?;
    // The new server has no rooms: they are restored.
    old.cli(&["replicaof", "127.0.0.1", &new.port.to_string()])?;
    let appended = one.append_event(&room, suite::note(2));
    let moved = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        address.point_at(new.port);
    };
    let (appended, ()) = tokio::join!(appended, moved);
    let appended = appended?;
    assert!(
        matches!(appended.stored, Stored::Yes),
        "it waited for the master"
    );
    assert_eq!(
        (
            next(&mut first).await?.offset,
            next(&mut second).await?.offset
        ),
        (2, 2)
    );
    assert_eq!(metrics.offline_events.get(), 0);
    let held = new.cli(&["keys", "*:history"])?;
    assert!(held.contains(room.as_str()), "{held}");
    Ok(())
}

#[tokio::test]
async fn servers_that_refuse_writes_are_told_of_without_flapping() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let store = store(&server).await?;
    let room = room();
    let _opened = store.open(&room).await?;
    for (refuses, takes) in [
        (
            ["min-replicas-to-write", "1"],
            ["min-replicas-to-write", "0"],
        ),
        (["maxmemory", "1"], ["maxmemory", "0"]),
    ] {
        server.cli(&[&["config", "set"], &refuses[..]].concat())?;
        let away = clock::wait(CONVERGE_LIMIT, || store.degraded()).await;
        away.with_context(|| format!("{refuses:?} is not noticed"))?;
        let appended = store.append_event(&room, suite::note(1)).await?;
        let Stored::Later(stored) = appended.stored else {
            anyhow::bail!("{refuses:?}: it is said to be stored");
        };
        for _ in 0..40 {
            assert!(store.degraded().is_some(), "{refuses:?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        server.cli(&[&["config", "set"], &takes[..]].concat())?;
        until_up(&store).await?;
        clock::timeout(CONVERGE_LIMIT, stored).await??;
    }
    Ok(())
}

/// Two servers continue one room separately. Afterwards readers of each server get the messages of
/// the other.
#[tokio::test]
async fn a_history_that_started_over_says_what_its_readers_missed() -> anyhow::Result<()> {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut first = one.open(&room).await?;
    let mut second = two.open(&room).await?;
    one.append(&room, suite::note(1)).await?;
    next(&mut first).await?;
    next(&mut second).await?;
    server.kill();
    let (left, right) = tokio::join!(
        async {
            one.append_event(&room, suite::note(10)).await?;
            one.append_event(&room, suite::note(11)).await
        },
        two.append_event(&room, suite::note(20)),
    );
    let (left, right) = (left?, right?);
    assert_eq!((left.offset, right.offset), (3, 2));
    server.restart().await?;
    for appended in [left, right] {
        let Stored::Later(stored) = appended.stored else {
            anyhow::bail!("it is said to be stored");
        };
        clock::timeout(CONVERGE_LIMIT, stored).await??;
    }
    let mut known = Vec::new();
    for (store, reader) in [(&one, &mut first), (&two, &mut second)] {
        let mut events = Vec::new();
        while let Some(update) = clock::timeout(CONVERGE_LIMIT, reader.updates.recv()).await? {
            if let RoomUpdate::Entry(entry) = update {
                events.push(entry.event.clone());
            }
        }
        let mut attempts = 0;
        let (opened, restart) = loop {
            let opened = store.open(&room).await?;
            if let Some(restart) = opened.restart.clone() {
                break (opened, restart);
            }
            attempts += 1;
            anyhow::ensure!(attempts < 100, "the history goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let missed = store.since(&room, &opened.epoch, restart.common).await?;
        let Missed::Entries(entries) = missed else {
            anyhow::bail!("the new history does not reach back");
        };
        let entries = entries.into_iter();
        let unseen = entries.filter(|entry| !restart.renumbered.contains(&entry.offset));
        events.extend(unseen.map(|entry| entry.event.clone()));
        known.push(events);
    }
    for events in &known {
        for number in [10, 11, 20] {
            let event = suite::note(number).event;
            let times = events.iter().filter(|other| **other == event).count();
            assert_eq!(times, 1, "{number}: {known:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn ephemeral_messages_reach_other_nodes_once() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let (one, two) = (store(&server).await?, store(&server).await?);
    let room = room();
    let mut first = one.open(&room).await?;
    let mut second = two.open(&room).await?;
    let message = |number: usize| Ephemeral {
        participant: "PA_0000000000000000".parse().expect("a form of ours"),
        identity: "ann".parse().expect("a name"),
        topic: "typing".into(),
        payload: number.into(),
        to: None,
    };
    for number in 0..100 {
        one.publish(&room, message(number))?;
    }
    for opened in [&mut first, &mut second] {
        for number in 0..100 {
            let update = clock::timeout(CONVERGE_LIMIT, opened.updates.recv()).await?;
            assert_eq!(update, Some(RoomUpdate::Message(Arc::new(message(number)))));
        }
    }
    assert_eq!(one.append(&room, suite::note(1)).await?, 1);
    assert_eq!(first.updates.recv().await, second.updates.recv().await);
    Ok(())
}

#[tokio::test]
async fn rubbish_in_our_keys_and_channels_is_skipped_or_named() -> anyhow::Result<()> {
    let server = Server::start(&[]).await?;
    let metrics = StoreMetrics::default();
    let store = RedisStore::connect(&RedisServers::at(&[server.url()]), metrics.clone()).await?;
    let room = room();
    let mut opened = store.open(&room).await?;
    store.append(&room, suite::note(1)).await?;
    next(&mut opened).await?;
    let keys = server.cli(&["keys", "*"])?;
    let key = |what: &str| {
        keys.lines()
            .find(|key| key.ends_with(what))
            .map(str::to_owned)
            .context("no key")
    };
    let history = key(":history")?;
    let channel = history
        .split(&format!(":{room}:"))
        .next()
        .context("no channel")?;
    for message in ["", "{}", "\u{1}", "{\"room\":\"x\"}", "[[[[[["] {
        server.cli(&["spublish", channel, message])?;
    }
    // An event in an unknown format, as a newer version might write it.
    server.cli(&["hset", &key(":meta")?, "offset", "2"])?;
    server.cli(&[
        "xadd",
        &history,
        "2-0",
        "e",
        "{\"event\":{\"kind\":\"dance\"}}",
    ])?;
    assert_eq!(store.append(&room, suite::note(3)).await?, 3);
    assert_eq!(
        next(&mut opened).await?.offset,
        2,
        "it is skipped, but keeps its number"
    );
    assert_eq!(next(&mut opened).await?.offset, 3);
    assert!(metrics.poisoned.get() >= 5, "{}", metrics.poisoned.get());
    server.cli(&["del", &history])?;
    server.cli(&["set", &history, "foreign"])?;
    let broken = store.append(&room, suite::note(4)).await;
    assert!(
        matches!(&broken, Err(StoreError::Broken(why)) if why.contains("WRONGTYPE")),
        "{broken:?}"
    );
    Ok(())
}
