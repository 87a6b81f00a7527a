//! Broken sockets: clients get the missed events, or a snapshot.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::client::{Client, TestServer, token};
use crate::fake::FakeNode;

async fn send_message(client: &mut Client, payload: u64) {
    let message = json!({"type": "message", "topic": "t", "payload": payload});
    assert_eq!(client.ask(message).await["type"], "ok");
}

/// Opens a new socket, and resumes as `old`.
async fn back(server: &TestServer, old: Client, resume: Value) -> Client {
    let mut new = server.connect().await;
    new.join(json!({"token": token("r", "bob", |_| ()), "resume": resume}))
        .await;
    drop(old);
    new
}

#[tokio::test]
async fn missed_events_follow_in_order_and_the_offer_is_repeated() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    let offer = bob.until("offer").await;
    let participant = bob.participant().to_owned();
    let resume = bob.resume();
    for payload in 0..5 {
        send_message(&mut ann, payload).await;
    }
    let mut bob = back(&server, bob, resume).await;
    assert_eq!(bob.joined["mode"], "recovered");
    assert_eq!(bob.participant(), participant);
    assert!(bob.joined.get("participants").is_none());
    for payload in 0..5 {
        assert_eq!(bob.event("message").await["payload"], payload);
    }
    let repeated = bob.until("offer").await;
    assert_eq!(repeated["revision"], offer["revision"]);
    assert!(node.held(|held| held.closed.is_empty()), "media flows on");
    send_message(&mut ann, 99).await;
    assert_eq!(bob.event("message").await["payload"], 99);
}

#[tokio::test]
async fn a_history_that_does_not_reach_back_is_a_resync() {
    let server = TestServer::start(&["--messages-per-second", "10000"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let bob = server.join("r", "bob").await;
    let resume = bob.resume();
    for payload in 0..1_100 {
        send_message(&mut ann, payload).await;
    }
    let mut bob = back(&server, bob, resume).await;
    assert_eq!(bob.joined["mode"], "resync");
    assert_eq!(bob.joined["participants"][0]["identity"], "ann");
    send_message(&mut ann, 7).await;
    assert_eq!(
        bob.event("message").await["payload"],
        7,
        "and the offsets go on"
    );
    let mut wrong_epoch = bob.resume();
    wrong_epoch["epoch"] = json!("other");
    let bob = back(&server, bob, wrong_epoch).await;
    assert_eq!(bob.joined["mode"], "resync");
}

#[tokio::test]
async fn after_the_grace_time_one_is_gone_and_joins_anew() {
    let server = TestServer::start(&["--grace-seconds", "1"]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let bob = server.join("r", "bob").await;
    let (resume, participant) = (bob.resume(), bob.participant().to_owned());
    drop(bob);
    assert_eq!(ann.event("participant_left").await["reason"], "timeout");
    let mut bob = server.connect().await;
    bob.join(json!({"token": token("r", "bob", |_| ()), "resume": resume}))
        .await;
    assert_eq!(bob.joined["mode"], "new");
    assert_ne!(bob.participant(), participant);
    let session = format!("{participant}:s");
    node.until(|held| held.closed.contains(&session)).await;
}

#[tokio::test]
async fn only_the_owner_of_a_key_comes_back_with_it() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let bob = server.join("r", "bob").await;
    let resume = bob.resume();
    let mut thief = server.connect().await;
    let refused = thief.join(json!({"token": token("r", "eve", |_| ()), "resume": resume}));
    assert_eq!(refused.await["code"], "token_invalid");
    assert_eq!(thief.closed().await, Some(4401));
    let mut elsewhere = server.connect().await;
    let refused = elsewhere.join(json!({"token": token("s", "bob", |_| ()), "resume": resume}));
    assert_eq!(refused.await["code"], "token_wrong_room");
    let mut forged = resume.clone();
    forged["key"] = json!(token("r", "bob", |_| ()));
    let mut forger = server.connect().await;
    let refused = forger.join(json!({"token": token("r", "bob", |_| ()), "resume": forged}));
    assert_eq!(refused.await["code"], "token_invalid");
}

#[tokio::test]
async fn an_expired_token_comes_back_with_a_key_but_does_not_join_anew() {
    let server = TestServer::start(&["--grace-seconds", "1"]).await;
    let _node = FakeNode::start(&server.socket());
    let bob = server.join("r", "bob").await;
    let expired = token("r", "bob", |claims| claims.exp = 1_000);
    let mut again = server.connect().await;
    again
        .join(json!({"token": expired, "resume": bob.resume()}))
        .await;
    assert_eq!(again.joined["mode"], "recovered");
    assert_eq!(bob.participant(), again.participant());
    let resume = again.resume();
    again.ask(json!({"type": "leave"})).await;
    let mut late = server.connect().await;
    let refused = late.join(json!({"token": expired, "resume": resume})).await;
    assert_eq!(refused["code"], "token_expired");
    assert_eq!(late.closed().await, Some(4401));
}

#[tokio::test]
async fn nothing_from_before_the_join_is_told_whatever_offset_is_named() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    for payload in 0..5 {
        send_message(&mut ann, payload).await;
    }
    let mut bob = server.join("r", "bob").await;
    let since = bob.joined["offset"].as_u64().unwrap();
    for named in [0, 1, since - 1] {
        send_message(&mut ann, 100 + named).await;
        let mut resume = bob.resume();
        resume["offset"] = json!(named);
        bob = back(&server, bob, resume).await;
        assert_eq!(bob.joined["mode"], "recovered");
        assert_eq!(bob.joined["offset"], since, "not the {named} it named");
        let first = bob.event("message").await;
        assert_eq!(
            first["payload"], 100,
            "what came after its join comes again"
        );
        // Its new key says the same.
    }
}

#[tokio::test]
async fn a_token_that_expired_gives_what_the_latest_valid_one_gave() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let bob = server.join("r", "bob").await;
    let silent = token("r", "bob", |claims| {
        claims.video.can_publish_data = Some(false)
    });
    let mut second = server.connect().await;
    let join = json!({"token": silent, "resume": bob.resume()});
    assert_eq!(second.join(join).await["mode"], "recovered");
    let message = json!({"type": "message", "topic": "t", "payload": 1});
    assert_eq!(second.ask(message.clone()).await["code"], "not_permitted");
    let expired = token("r", "bob", |claims| claims.exp = 1_000);
    let mut third = server.connect().await;
    let join = json!({"token": expired, "resume": second.resume()});
    assert_eq!(third.join(join).await["mode"], "recovered");
    assert_eq!(third.ask(message.clone()).await["code"], "not_permitted");
    let mut fourth = server.connect().await;
    let join = json!({"token": token("r", "bob", |_| ()), "resume": third.resume()});
    assert_eq!(fourth.join(join).await["mode"], "recovered");
    assert_eq!(fourth.ask(message).await["type"], "ok");
}

#[tokio::test]
async fn an_older_key_does_not_bring_back_what_the_latest_token_took() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let bob = server.join("r", "bob").await;
    let silent = token("r", "bob", |claims| {
        claims.video.can_publish_data = Some(false)
    });
    let mut second = server.connect().await;
    let join = json!({"token": silent, "resume": bob.resume()});
    assert_eq!(second.join(join).await["mode"], "recovered");
    let expired = token("r", "bob", |claims| claims.exp = 1_000);
    let mut older = server.connect().await;
    let join = json!({"token": expired, "resume": bob.resume()});
    let refused = older.join(join).await;
    assert_eq!(refused["code"], "token_expired");
    assert_eq!(older.closed().await, Some(4401));
    // Connected participants stay, with their grants.
    let message = json!({"type": "message", "topic": "t", "payload": 1});
    assert_eq!(second.ask(message).await["code"], "not_permitted");
    let mut latest = server.connect().await;
    let join = json!({"token": expired, "resume": second.resume()});
    assert_eq!(latest.join(join).await["mode"], "recovered");
    // With a valid token, an older key is accepted.
    let mut valid = server.connect().await;
    let join = json!({"token": token("r", "bob", |_| ()), "resume": bob.resume()});
    assert_eq!(valid.join(join).await["mode"], "recovered");
}

#[tokio::test]
async fn a_token_that_permits_less_starts_anew() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let [camera, _] = bob.publish().await;
    let watcher = token("r", "bob", |claims| claims.video.can_publish = Some(false));
    let mut again = server.connect().await;
    let join = json!({"token": watcher, "resume": bob.resume()});
    assert_eq!(again.join(join).await["mode"], "new");
    assert_eq!(bob.closed().await, Some(4409));
    let left = ann.event("participant_left").await;
    assert_eq!(left["participant"], bob.joined["participant"]);
    let session = format!("{}:p", bob.participant());
    node.until(|held| {
        let mut subscriptions = held.session_by_name.values().flat_map(|s| &s.subscriptions);
        held.closed.contains(&session) && subscriptions.all(|s| s.track != camera)
    })
    .await;
}

fn unix_time() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("the clock is past 1970")
}

#[tokio::test]
async fn without_another_token_a_stay_ends() {
    // A token counts for 60 s after its end, as clocks differ: these are good for another second or two.
    let ends = unix_time() + Duration::from_secs(2);
    let ending = || token("r", "bob", |claims| claims.exp = claims.exp - 600 - 59);
    let server = TestServer::start(&["--resume-allowance-seconds", "0"]).await;
    let _node = FakeNode::start(&server.socket());
    let longer = TestServer::start(&["--resume-allowance-seconds", "64"]).await;
    let _other = FakeNode::start(&longer.socket());
    let mut here = server.connect().await;
    let mut there = longer.connect().await;
    let old = ending();
    for client in [&mut here, &mut there] {
        assert_eq!(client.join(json!({"token": old})).await["mode"], "new");
    }
    while unix_time() <= ends {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut late = server.connect().await;
    let refused = late.join(json!({"token": old, "resume": here.resume()}));
    let refused = refused.await;
    assert_eq!(refused["code"], "token_expired");
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("without another ended"), "{said}");
    // Its socket stays open: only broken sockets are closed.
    assert_eq!(here.ask(json!({"type": "ping"})).await["type"], "pong");
    // Where there is time left, it ends with it.
    let mut back = longer.connect().await;
    let join = json!({"token": old, "resume": there.resume()});
    assert_eq!(back.join(join).await["mode"], "recovered");
    assert_eq!(back.closed().await, Some(4401));
    // With a valid token the key opens the same place again.
    let mut fresh = server.connect().await;
    let join = json!({"token": token("r", "bob", |_| ()), "resume": here.resume()});
    assert_eq!(fresh.join(join).await["mode"], "recovered");
}

#[tokio::test]
async fn a_node_that_goes_away_sends_its_clients_elsewhere_one_by_one() {
    let server = TestServer::start(&["--drain-seconds", "2"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(server.join("r", &format!("c{number}")).await);
    }
    let start = Instant::now();
    let goodbyes = clients.into_iter().map(|mut client| async move {
        let closing = client.until("closing").await;
        assert_eq!(closing["resume"], true);
        let at = start.elapsed();
        assert_eq!(client.closed().await, Some(4503));
        at
    });
    let not_ready = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let url = format!("{}/readyz", server.running.url);
        let ask = move || ureq::get(&url).call().err().map(|error| error.to_string());
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    let goodbyes = futures_util::future::join_all(goodbyes);
    let stopped = server.running.stop(std::future::pending());
    let (mut times, (), said) = tokio::join!(goodbyes, stopped, not_ready);
    assert!(said.is_some_and(|said| said.contains("503")));
    times.sort_unstable();
    let (first, last) = (times[0], times[times.len() - 1]);
    // A host that stands still for a second is not what this is about.
    assert!(last < Duration::from_secs(4), "{last:?}");
    assert!(
        last - first > Duration::from_millis(800),
        "{first:?} to {last:?}"
    );
}
