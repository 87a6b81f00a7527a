//! Retransmissions to subscribers, first packets of a subscription, and the time that packets are kept.

use std::time::Duration;

use str0m::format::Codec;

use super::rig::{Client, Rig, TRACK, now};
use crate::dtls::handshake::FailureKind;
use crate::key::{SessionKey, TrackKey};
use crate::mesh::message::ShardEvent;
use crate::peer::output::NO_CODEC;

#[test]
fn a_late_subscriber_starts_with_a_recent_keyframe_and_requests_none() {
    let mut rig = Rig::start(1);
    rig.subscribe(SessionKey(200), Client::new());
    // The session negotiates, but is not connected yet.
    rig.run_for(Duration::from_millis(20));
    let before = rig.publisher.keyframe_requests;
    let late = rig.subscribers.len() - 1;
    rig.until("it to connect", |rig| {
        if !rig.subscribers[late].connected {
            rig.send(1, true, 500); // a keyframe every millisecond, so that a recent one always exists
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
fn a_track_that_is_published_again_plays_no_packets_of_its_earlier_publisher() {
    let mut rig = Rig::start(1);
    rig.publisher.restart(500, 0); // numbers above those of the next publisher
    rig.send(1, true, 1_000);
    rig.until("the last keyframe", |rig| {
        !rig.subscribers[0].received.is_empty()
    });
    rig.subscribers[0].received.clear();
    rig.shard.close(rig.publisher.index);
    rig.publisher = rig.publish((SessionKey(9), TRACK), |offer| offer);
    rig.until("it to connect", |rig| rig.publisher.connected);
    rig.send(1, true, 500);
    rig.until("its media", |rig| {
        rig.subscribers[0]
            .received
            .iter()
            .any(|packet| packet.payload.len() == 500)
    });
    assert_eq!(rig.subscribers[0].received.len(), 1);
}

#[test]
fn a_keyframe_is_requested_once_when_the_session_can_receive() {
    let mut rig = Rig::start(1);
    rig.skip(Duration::from_secs(2)); // the first keyframe is too old
    let before = rig.publisher.keyframe_requests;
    let mut client = Client::new();
    client.is_mute = true;
    rig.subscribe(SessionKey(200), client);
    let late = rig.subscribers.len() - 1;
    for _ in 0..20 {
        rig.send(1, false, 500);
        rig.run_for(Duration::from_millis(20));
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
fn a_publisher_is_asked_again_for_a_packet_that_hundreds_have_followed() {
    let mut rig = Rig::start(1);
    rig.publisher.loses_next = 1;
    rig.send(1, false, 500);
    // The publisher gets no requests meanwhile, because its path loses all datagrams.
    rig.publisher.loses_every = 1;
    for _ in 0..10 {
        for _ in 0..30 {
            rig.send(1, false, 500);
        }
        rig.step();
    }
    assert!(rig.subscribers[0].received.len() <= 300, "one is missing");
    rig.publisher.loses_every = 0;
    rig.until("the packet that was lost", |rig| {
        rig.subscribers[0].received.len() == 301
    });
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

#[test]
fn a_subscriber_without_a_codec_for_a_track_is_told_once() {
    let mut rig = Rig::start(1);
    rig.subscribe(SessionKey(200), Client::speaking(Codec::Vp9));
    let client = rig.subscribers.len() - 1;
    rig.until("it to connect", |rig| rig.subscribers[client].connected);
    for _ in 0..20 {
        rig.send(1, true, 500);
        rig.run_for(Duration::from_millis(5));
    }
    assert!(rig.subscribers[client].received.is_empty());
    let events = rig.events.iter().filter(|event| {
        matches!(event, ShardEvent::Layer { session: SessionKey(200), track: TRACK, active: false, reason, .. } if *reason == NO_CODEC)
    });
    assert_eq!(events.count(), 1, "{:?}", rig.events);
}

#[test]
fn a_subscriber_without_rtx_gets_the_same_datagram_again() {
    let mut rig = Rig::start(1);
    let mut client = Client::new();
    client.takes_rtx = false;
    rig.subscribe(SessionKey(200), client);
    let client = rig.subscribers.len() - 1;
    rig.until("its media", |rig| {
        rig.send(1, true, 500);
        !rig.subscribers[client].received.is_empty()
    });
    rig.run_for(Duration::from_millis(50));
    let resent = rig.shard.report.resent;
    let nacks = |rig: &mut Rig, seqs: &[u16]| {
        let index = rig.subscribers[client].index;
        let lost = seqs.iter().map(|seq| (0, *seq));
        rig.shard.out.lost.extend(lost);
        rig.shard.resend(index, now());
        rig.turn();
    };
    rig.subscribers[client].datagrams.clear();
    rig.send(3, false, 700);
    rig.run_for(Duration::from_millis(50));
    let sent = std::mem::take(&mut rig.subscribers[client].datagrams);
    assert_eq!(sent.len(), 3);
    let seqs: Vec<u16> = sent
        .iter()
        .map(|rtp| u16::from_be_bytes([rtp[2], rtp[3]]))
        .collect();
    nacks(&mut rig, &seqs[1..]);
    rig.step();
    let again = std::mem::take(&mut rig.subscribers[client].datagrams);
    assert!(again == sent[1..], "byte for byte");
    nacks(&mut rig, &seqs[1..]);
    rig.step();
    assert!(
        rig.subscribers[client].datagrams.is_empty(),
        "not at once again"
    );
    assert_eq!(rig.shard.report.resent, resent + 2);
}

#[test]
fn a_wrong_fingerprint_ends_the_handshake_by_name() {
    let mut rig = Rig::start(1);
    let mut client = rig.publish((SessionKey(300), TrackKey(30)), |offer| {
        let at = offer.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len();
        let (before, after) = offer.split_at(at);
        let wrong = if after.starts_with("00") { "11" } else { "00" };
        format!("{before}{wrong}{}", &after[2..])
    });
    let failure = |rig: &Rig| {
        rig.events.iter().find_map(|event| match event {
            ShardEvent::Closed {
                session: SessionKey(300),
                failure,
                ..
            } => *failure,
            _ => None,
        })
    };
    rig.until("the failure", |rig| {
        client.drive(now());
        failure(rig).is_some()
    });
    assert_eq!(failure(&rig), Some(FailureKind::Fingerprint));
    let counted = rig.shard.report.handshake_failures[FailureKind::Fingerprint as usize];
    assert_eq!(counted, 1);
    assert_eq!(rig.shard.peers.len(), 2, "the others stay");
}
