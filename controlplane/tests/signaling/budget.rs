//! Budgets of participants: a request beyond one is refused by name, and other participants are not affected.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, TestServer, token};
use crate::fake::FakeNode;

/// An offer of eight tracks, or of none. A few such offers exceed the budget long before the
/// message rate.
fn offer(published: bool) -> Value {
    let count = if published { 8 } else { 0 };
    let track = |mid: usize| json!({"mid": mid.to_string(), "kind": "audio", "source": "other"});
    let tracks: Vec<_> = (0..count).map(track).collect();
    json!({"type": "offer", "sdp": "v=0", "tracks": tracks})
}

/// Sends `messages` in turn until one is refused with `too_much`; returns that error.
async fn until_too_much(client: &mut Client, messages: &[Value], most: usize) -> Value {
    for number in 0..most {
        let reply = client.ask(messages[number % messages.len()].clone()).await;
        if reply["type"] == "error" {
            return reply;
        }
    }
    panic!("{most} requests were not too much");
}

fn check(refused: &Value) {
    assert_eq!(refused["code"], "too_much", "{refused}");
    assert_eq!(refused["retry"], true);
    assert!(refused["after_ms"].as_u64().unwrap() > 0);
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("a second: again in"), "{said}");
}

#[tokio::test]
async fn tracks_that_come_and_go_are_too_much_and_coming_back_does_not_help() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut bob = server.join("r", "bob").await;
    let mut ann = server.join("r", "ann").await;
    let flap = [offer(true), offer(false)];
    check(&until_too_much(&mut ann, &flap, 20).await);
    let resume = ann.resume();
    drop(ann);
    // The budget may be too low for a resume, which is then refused with the time to wait.
    let mut again = server.connect().await;
    let join = json!({"token": token("r", "ann", |_| ()), "resume": resume});
    let refused = again.join(join).await;
    if refused["type"] == "joined" {
        check(&until_too_much(&mut again, &flap, 20).await);
    } else {
        check(&refused);
        assert_eq!(again.closed().await, Some(4429));
    }
    // Other participants do not pay for it.
    bob.publish().await;
}

#[tokio::test]
async fn an_identity_that_joins_over_and_over_is_turned_away_for_a_while() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut bob = server.join("r", "bob").await;
    let mut joined = 0;
    let refused = loop {
        let mut ann = server.connect().await;
        let reply = ann.join(json!({"token": token("r", "ann", |_| ())})).await;
        if reply["type"] != "joined" {
            break reply;
        }
        joined += 1;
        assert!(joined < 100, "never too much");
    };
    check(&refused);
    assert!(joined >= 10, "{joined}");
    // The room is theirs alone in another one, and bob is not refused here.
    let mut events = 0;
    while events < 2 * joined - 1 {
        bob.until("event").await;
        events += 1;
    }
    server.join("r", "eve").await;
    server.join("s", "ann").await;
}

#[tokio::test]
async fn a_key_of_somebody_who_left_or_may_less_does_not_make_joins_cheaper() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let _bob = server.join("r", "bob").await;
    let mut joined = 0;
    let mut key = None;
    let refused = loop {
        let mut ann = server.connect().await;
        // It may publish less than before, or has left.
        let token = token("r", "ann", |claims| {
            claims.video.can_publish = Some(joined % 2 == 0);
        });
        let reply = ann.join(json!({"token": token, "resume": key})).await;
        if reply["type"] != "joined" {
            break reply;
        }
        assert_eq!(reply["mode"], "new");
        joined += 1;
        key = Some(ann.resume());
        if joined % 2 == 0 {
            ann.ask(json!({"type": "leave"})).await;
        }
        assert!(joined < 25, "{joined}");
    };
    check(&refused);
    // 100 changes at once, 8 for each join and 10 more a second.
}

#[tokio::test]
async fn what_is_told_again_is_charged() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let bob = server.join("r", "bob").await;
    let large = json!({"type": "message", "topic": "t", "payload": "x".repeat(8_000)});
    for number in 0..5 {
        let mut sender = server.join("r", &format!("p{number}")).await;
        for _ in 0..90 {
            assert_eq!(sender.ask(large.clone()).await["type"], "ok");
        }
        sender.ask(json!({"type": "leave"})).await;
    }
    // 3.6 MB each time, and 33 MB at once: long before 25 returns, which are 100 changes.
    let resume = bob.resume();
    let mut returns = 0;
    let refused = loop {
        let mut back = server.connect().await;
        let join = json!({"token": token("r", "bob", |_| ()), "resume": resume});
        let reply = back.join(join).await;
        if reply["type"] != "joined" {
            break reply;
        }
        assert_eq!(reply["mode"], "recovered");
        returns += 1;
        assert!(returns < 100, "never too much");
    };
    check(&refused);
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("bytes"), "{said}");
    assert!(returns >= 5, "{returns}");
}

#[tokio::test]
async fn large_messages_to_many_are_too_much_and_small_ones_are_not() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut crowd = Vec::new();
    for number in 0..60 {
        crowd.push(server.join("r", &format!("p{number}")).await);
    }
    let mut ann = server.join("r", "ann").await;
    let large = json!({"type": "message", "topic": "t", "payload": "x".repeat(8_000)});
    let refused = until_too_much(&mut ann, &[large], 100).await;
    check(&refused);
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("bytes"), "{said}");
    let small = json!({"type": "message", "topic": "chat", "payload": "hello"});
    for other in &mut crowd[..5] {
        assert_eq!(other.ask(small.clone()).await["type"], "ok");
    }
    let after = Duration::from_millis(refused["after_ms"].as_u64().unwrap());
    tokio::time::sleep(after).await;
    assert_eq!(ann.ask(small).await["type"], "ok");
}

#[tokio::test]
async fn wishes_that_change_quickly_are_few_commands() {
    let server = TestServer::start(&["--messages-per-second", "1000"]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let puts = |node: &FakeNode| {
        node.held(|held| {
            held.calls
                .iter()
                .filter(|c| **c == "put_subscriptions")
                .count()
        })
    };
    let (before, start) = (puts(&node), std::time::Instant::now());
    for _ in 0..100 {
        let off = json!({"type": "unsubscribe", "tracks": [camera]});
        assert_eq!(bob.ask(off).await["type"], "ok");
        let on = json!({"type": "subscribe", "tracks": [{"track": camera}]});
        assert_eq!(bob.ask(on).await["type"], "ok");
    }
    let off = json!({"type": "unsubscribe", "tracks": [microphone]});
    assert_eq!(bob.ask(off).await["type"], "ok");
    let session = format!("{}:s", bob.participant());
    node.until(|held| {
        let subscriptions = &held.session_by_name[&session].subscriptions;
        subscriptions.len() == 1 && subscriptions[0].track == camera
    })
    .await;
    let most = 2 + usize::try_from(start.elapsed().as_millis() / 200).unwrap();
    let commands = puts(&node) - before;
    assert!(commands <= most, "{commands} commands for 201 wishes");
}

#[tokio::test]
async fn a_hidden_identity_is_answered_for_as_an_absent_one() {
    let server = TestServer::start(&["--max-participants-per-room", "2"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut ghost = server.connect().await;
    let hidden = token("r", "ghost", |claims| claims.video.hidden = true);
    ghost.join(json!({"token": hidden})).await;
    assert_eq!(ghost.joined["mode"], "new", "{}", ghost.joined);
    let to = |name: &str| json!({"type": "message", "topic": "t", "payload": 1, "to": [name]});
    let mut said = Vec::new();
    for name in ["ghost", "absentee"] {
        let refused = ann.ask(to(name)).await;
        assert_eq!(refused["code"], "unknown_participant");
        said.push(refused["message"].as_str().unwrap().replace(name, "X"));
    }
    assert_eq!(said[0], said[1]);
    // Visible participants alone count for the limit of the room.
    let mut bob = server.join("r", "bob").await;
    ann.event("participant_joined").await;
    assert_eq!(bob.joined["participants"].as_array().unwrap().len(), 1);
    // It gets messages to all participants.
    let all = json!({"type": "message", "topic": "t", "payload": 7});
    assert_eq!(bob.ask(all).await["type"], "ok");
    assert_eq!(ghost.event("message").await["payload"], 7);
}
