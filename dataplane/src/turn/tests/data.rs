//! Relayed data in both directions.

use spillway_wire::stun::{Class, Message, Method, kinds, xor_address};

use super::rig::*;
use crate::limits::MAX_RELAYED_BYTES;
use crate::turn::{Client, DenyReason, Outcome, StreamId, Transport};

const CLIENT: &str = "192.0.2.7:40000";

#[test]
fn a_channel_carries_data_both_ways() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.bind(&mut client, 0x4123, NODE).expect(Class::Success);
    let data = [&[0x41, 0x23, 0, 5][..], b"hello", &[0, 0, 0]].concat();
    let sent = rig.relay(&client.client, &data).unwrap();
    assert_eq!((sent.relayed, sent.peer), (relayed, addr(NODE)));
    assert_eq!(&data[sent.payload], b"hello");
    let now = rig.now.instant;
    let back = rig
        .server
        .handle_peer(now, relayed, addr(NODE), b"hi")
        .unwrap();
    assert_eq!(back.client, client.client);
    assert_eq!(back.head, [0x41, 0x23, 0, 2]);
    assert_eq!(back.padding_bytes, 0);
    let counts = *rig.server.counts().of(Transport::Udp);
    assert_eq!((counts.to_peer_packets, counts.to_peer_bytes), (1, 5));
    assert_eq!((counts.to_client_packets, counts.to_client_bytes), (1, 2));
}

#[test]
fn in_a_stream_channel_data_is_padded() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    client.client = Client::stream(Transport::Tls, StreamId(1), addr(CLIENT), addr(LISTENING));
    let relayed = rig.allocate(&mut client);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    let now = rig.now.instant;
    for (length, padding) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0)] {
        let back = rig
            .server
            .handle_peer(now, relayed, addr(NODE), &[1; 4][..length]);
        assert_eq!(back.unwrap().padding_bytes, padding);
    }
}

#[test]
fn indications_carry_data_both_ways() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.permit(&mut client, NODE).expect(Class::Success);
    let bytes = client.send(addr(NODE), b"hello");
    let sent = rig.relay(&client.client, &bytes).unwrap();
    assert_eq!((sent.relayed, sent.peer), (relayed, addr(NODE)));
    assert_eq!(&bytes[sent.payload], b"hello");
    assert!(!sent.dont_fragment);
    let now = rig.now.instant;
    let back = rig
        .server
        .handle_peer(now, relayed, addr(NODE), b"bonjour")
        .unwrap();
    let mut whole = [back.head, b"bonjour"].concat();
    whole.resize(whole.len() + back.padding_bytes, 0);
    let message = Message::parse(&whole).unwrap();
    assert_eq!(message.kind(), Method::Data.kind(Class::Indication));
    assert_eq!(message.find(kinds::DATA).unwrap().value, b"bonjour");
    let peer = message.find(kinds::XOR_PEER_ADDRESS).unwrap();
    let peer = xor_address(peer.value, &message.transaction());
    assert_eq!(peer, Some(addr(NODE)));
}

#[test]
fn a_client_in_ipv6_clothes_is_the_same_client() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.permit(&mut client, NODE).expect(Class::Success);
    let bytes = client.send(addr(NODE), b"hello");
    let dressed = Client::udp(
        addr("[::ffff:192.0.2.7]:40000"),
        addr("[::ffff:198.51.100.1]:3478"),
    );
    assert!(rig.relay(&dressed, &bytes).is_ok());
    let other_port_of_ours = Client::udp(addr(CLIENT), addr("198.51.100.1:3479"));
    let refused = rig.relay(&other_port_of_ours, &bytes);
    assert_eq!(refused, Err(DenyReason::NoAllocation));
}

#[test]
fn channel_data_that_lies_about_its_length_is_dropped() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    for (bytes, expected) in [
        (&[0x40, 0, 0, 3, 1, 2][..], DenyReason::Malformed),
        (&[0x40, 0, 0xff, 0xff, 1], DenyReason::Malformed),
        (&[0x40, 0, 0], DenyReason::Malformed),
        (&[0x40], DenyReason::Malformed),
        (&[0x80, 0, 0, 0], DenyReason::Malformed),
        (&[], DenyReason::Malformed),
        (&[0x40, 1, 0, 0], DenyReason::NoChannel),
    ] {
        let outcome = rig.handle(&client.client, bytes);
        assert_eq!(outcome, Outcome::Silent(expected), "{bytes:02x?}");
    }
    let padded = rig.relay(&client.client, &[0x40, 0, 0, 1, 9, 0, 0, 0]);
    assert_eq!(padded.unwrap().payload, 4..5);
}

#[test]
fn a_datagram_that_no_message_can_hold_is_dropped() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.permit(&mut client, NODE).expect(Class::Success);
    let now = rig.now.instant;
    let data = vec![1; MAX_RELAYED_BYTES + 1];
    let long = rig.server.handle_peer(now, relayed, addr(NODE), &data);
    assert_eq!(long.unwrap_err(), DenyReason::TooLong);
    let longest = &data[1..];
    assert!(
        rig.server
            .handle_peer(now, relayed, addr(NODE), longest)
            .is_ok()
    );
}

#[test]
fn messages_that_no_client_sends_are_not_answered() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    let denied = rig.server.counts().denied(DenyReason::Unexpected);
    let mut sent = 0;
    for method in [
        Method::Binding,
        Method::Allocate,
        Method::Data,
        Method::Send,
    ] {
        for class in [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ] {
            let mut bytes = client.send(addr(NODE), b"x");
            bytes[..2].copy_from_slice(&method.kind(class).to_be_bytes());
            let is_spoken = matches!(
                (method, class),
                (Method::Binding | Method::Allocate, Class::Request)
                    | (Method::Send, Class::Indication)
            );
            if !is_spoken {
                let outcome = rig.handle(&client.client, &bytes);
                assert_eq!(outcome, Outcome::Silent(DenyReason::Unexpected));
                sent += 1;
            }
        }
    }
    let now_denied = rig.server.counts().denied(DenyReason::Unexpected);
    assert_eq!(now_denied - denied, sent);
}

#[test]
fn a_send_that_does_not_say_what_or_whereto_is_dropped() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.permit(&mut client, NODE).expect(Class::Success);
    let send = Method::Send.kind(Class::Indication).to_be_bytes();
    for (attributes, expected) in [
        (&[(kinds::DATA, &b"x"[..])][..], Err(DenyReason::Malformed)),
        (&[], Err(DenyReason::Malformed)),
        (&[(0x7001, b"")], Err(DenyReason::Malformed)),
    ] {
        let mut bytes = client.unsigned(Method::Allocate, |writer| {
            for (kind, value) in attributes {
                writer.attribute(*kind, value);
            }
        });
        bytes[..2].copy_from_slice(&send);
        assert_eq!(rig.relay(&client.client, &bytes), expected);
    }
    let mut bytes = client.unsigned(Method::Allocate, |writer| {
        writer
            .xor_address(kinds::XOR_PEER_ADDRESS, addr(NODE))
            .attribute(kinds::DONT_FRAGMENT, b"")
            .attribute(kinds::DATA, b"");
    });
    bytes[..2].copy_from_slice(&send);
    let sent = rig.relay(&client.client, &bytes).unwrap();
    assert!(sent.dont_fragment && sent.payload.is_empty());
}

#[test]
fn each_direction_of_the_relay_path_allocates_nothing() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    rig.permit(&mut client, MEDIA).expect(Class::Success);
    let channel = [&[0x40, 0, 4, 0][..], &[1; 1_024]].concat();
    let send = client.send(addr(MEDIA), &[1; 1_024]);
    let (client, now) = (client.client, rig.now.instant);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert!(rig.relay(&client, &channel).is_ok());
            assert!(rig.relay(&client, &send).is_ok());
            for peer in [NODE, MEDIA] {
                let back = rig.server.handle_peer(now, relayed, addr(peer), &channel);
                assert!(back.is_ok());
            }
        }
    });
    assert_eq!(allocated.count_total, 0);
}
