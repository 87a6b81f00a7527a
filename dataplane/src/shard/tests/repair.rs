//! What subscribers get again, how they start, and how long they are kept.

use std::time::Duration;

use super::rig::{Client, Rig, now};
use crate::key::SessionKey;

#[test]
fn who_comes_late_starts_with_a_young_keyframe_and_asks_for_none() {
    let mut rig = Rig::start(1);
    rig.subscribe(SessionKey(200), Client::new());
    // It negotiates, and does not connect yet.
    rig.settle(Duration::from_millis(20));
    let before = rig.publisher.keyframe_requests;
    let late = rig.subscribers.len() - 1;
    rig.until("it to connect", |rig| {
        if !rig.subscribers[late].connected {
            rig.send(1, true, 500); // a keyframe every millisecond: always a young one
        }
        rig.subscribers[late].connected
    });
    rig.send(1, false, 500);
    rig.until("its media", |rig| rig.subscribers[late].received.len() >= 2);
    let first = &rig.subscribers[late].received[0];
    assert_eq!(first.payload[4] & 1, 0, "it starts with a keyframe");
    assert_eq!(rig.publisher.keyframe_requests, before);
}

#[test]
fn nothing_is_asked_for_a_session_that_can_not_receive_and_once_when_it_can() {
    let mut rig = Rig::start(1);
    rig.skip(Duration::from_secs(2)); // the keyframe of the start is old
    let before = rig.publisher.keyframe_requests;
    let mut client = Client::new();
    client.is_mute = true;
    rig.subscribe(SessionKey(200), client);
    let late = rig.subscribers.len() - 1;
    for _ in 0..20 {
        rig.send(1, false, 500);
        rig.settle(Duration::from_millis(20));
    }
    assert_eq!(
        rig.publisher.keyframe_requests, before,
        "it is not connected"
    );
    rig.subscribers[late].is_mute = false;
    rig.until("the request", |rig| {
        rig.publisher.keyframe_requests > before
    });
    assert!(rig.subscribers[late].connected);
    rig.send(1, true, 500);
    rig.until("its media", |rig| {
        !rig.subscribers[late].received.is_empty()
    });
    assert_eq!(rig.publisher.keyframe_requests, before + 1);
}

#[test]
fn a_client_that_sends_media_and_no_checks_is_kept() {
    let mut rig = Rig::start(1);
    rig.publisher.sends_no_checks = true;
    rig.subscribers[0].sends_no_checks = true;
    let start = now();
    while now() < start + Duration::from_secs(40) {
        rig.send(1, true, 500);
        rig.skip(Duration::from_secs(2));
    }
    assert_eq!(rig.shard.peers.len(), 2, "both were heard of");
    rig.publisher.is_mute = true;
    rig.skip(Duration::from_secs(40));
    assert_eq!(rig.shard.peers.len(), 1, "one is silent");
}
