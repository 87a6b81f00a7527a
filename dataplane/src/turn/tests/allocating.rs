//! Answers to Allocate and Refresh.

use std::num::NonZeroU16;

use spillway_wire::stun::{Class, Method, Writer, kinds};

use super::rig::*;
use crate::turn::{Client, Event, RelayAddresses, StreamId, Transport};

const CLIENT: &str = "192.0.2.7:40000";
const V4: [u8; 4] = [1, 0, 0, 0];
const V6: [u8; 4] = [2, 0, 0, 0];

/// The answer to an Allocate with these attributes beside the transport.
fn asked(rig: &mut Rig, client: &mut TestClient, attributes: &[(u16, &[u8])]) -> Answer {
    rig.greet(client);
    rig.ask(client, Method::Allocate, |writer: &mut Writer<'_>| {
        udp(writer);
        for (kind, value) in attributes {
            writer.attribute(*kind, value);
        }
    })
}

#[test]
fn only_udp_is_relayed_over() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let none = rig.ask(&mut client, Method::Allocate, |_| {});
    assert_eq!(none.code(), Some(400));
    for (value, code) in [(&[6_u8, 0, 0, 0][..], 442), (&[17, 0], 400)] {
        let answer = rig.ask(&mut client, Method::Allocate, |writer| {
            writer.attribute(kinds::REQUESTED_TRANSPORT, value);
        });
        assert_eq!(answer.code(), Some(code));
    }
    assert_eq!(rig.server.allocations(), 0);
}

#[test]
fn families_are_given_as_asked() {
    let mut rig = Rig::new();
    let family = kinds::REQUESTED_ADDRESS_FAMILY;
    let additional = kinds::ADDITIONAL_ADDRESS_FAMILY;
    for (attributes, expected) in [
        (&[][..], Ok(vec![RELAY_V4])),
        (&[(family, &V4[..])], Ok(vec![RELAY_V4])),
        (&[(family, &V6)], Ok(vec![RELAY_V6])),
        (&[(additional, &V6)], Ok(vec![RELAY_V4, RELAY_V6])),
        (&[(family, &[3, 0, 0, 0])], Err(440)),
        (&[(additional, &V4)], Err(400)),
        (&[(family, &V4), (additional, &V6)], Err(400)),
    ] {
        let mut client = TestClient::new(CLIENT);
        let answer = asked(&mut rig, &mut client, attributes);
        let relayed = answer.addresses(kinds::XOR_RELAYED_ADDRESS);
        let ips: Vec<_> = relayed.iter().map(|at| at.ip().to_string()).collect();
        match expected {
            Ok(expected) => assert_eq!(ips, expected),
            Err(code) => assert_eq!(answer.code(), Some(code), "{attributes:?}"),
        }
        rig.server.client_gone(&client.client);
    }
}

#[test]
fn a_family_we_do_not_have_is_said_to_be_missing() {
    let mut config = config();
    config.relay.v6 = None;
    let mut rig = Rig::with(config);
    let mut client = TestClient::new(CLIENT);
    let only = asked(
        &mut rig,
        &mut client,
        &[(kinds::REQUESTED_ADDRESS_FAMILY, &V6)],
    );
    assert_eq!(only.code(), Some(440));
    let both = asked(
        &mut rig,
        &mut client,
        &[(kinds::ADDITIONAL_ADDRESS_FAMILY, &V6)],
    );
    both.expect(Class::Success);
    assert_eq!(both.addresses(kinds::XOR_RELAYED_ADDRESS).len(), 1);
    let code = both.get(kinds::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(code, [2, 0, 4, 40]);
}

#[test]
fn even_ports_are_found_and_reservations_refused() {
    let mut rig = Rig::new();
    let token = (kinds::RESERVATION_TOKEN, &b"12345678"[..]);
    let mut client = TestClient::new(CLIENT);
    for (attributes, code) in [
        (&[(kinds::EVEN_PORT, &[0x80_u8][..])][..], 508),
        (&[token], 508),
        (&[token, (kinds::EVEN_PORT, &[0])], 400),
        (&[token, (kinds::REQUESTED_ADDRESS_FAMILY, &V4)], 400),
    ] {
        let answer = asked(&mut rig, &mut client, attributes);
        assert_eq!(answer.code(), Some(code), "{attributes:?}");
    }
    for port in 1..20 {
        let mut client = TestClient::new(&format!("192.0.2.7:{port}"));
        let answer = asked(&mut rig, &mut client, &[(kinds::EVEN_PORT, &[0])]);
        let relayed = answer.address(kinds::XOR_RELAYED_ADDRESS).unwrap();
        assert!(relayed.port().is_multiple_of(2));
    }
}

#[test]
fn what_must_be_understood_and_is_not_is_named() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    let unknown: &[(u16, &[u8])] = &[(0x7001, b""), (0x0010, b"abcd"), (0xc001, b"")];
    let answer = asked(&mut rig, &mut client, unknown);
    assert_eq!(answer.code(), Some(420));
    let listed = answer.get(kinds::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(listed, [0x70, 0x01, 0x00, 0x10]);
    let optional = asked(&mut rig, &mut client, &[(0xc001, b"")]);
    optional.expect(Class::Success);
}

#[test]
fn a_retransmitted_allocate_gets_the_same_answer() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let request = client.request(Method::Allocate, udp);
    let first = rig.answer(&client.client, &request);
    first.expect(Class::Success);
    rig.wait(3);
    assert_eq!(rig.answer(&client.client, &request).0, first.0);
    assert_eq!(rig.server.allocations(), 1);
    assert_eq!(rig.events().len(), 1);
    let second = rig.ask(&mut client, Method::Allocate, udp);
    assert_eq!(second.code(), Some(437), "another one");
}

#[test]
fn lifetimes_are_granted_within_bounds() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    for (requested, granted) in [(1, 600), (601, 601), (3_600, 3_600), (u32::MAX, 3_600)] {
        let answer = rig.refresh(&mut client, requested);
        assert_eq!(answer.number(kinds::LIFETIME), Some(granted));
    }
    let default = rig.ask(&mut client, Method::Refresh, |_| {});
    assert_eq!(default.number(kinds::LIFETIME), Some(600));
}

#[test]
fn an_allocation_ends_when_its_time_has_come() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    let open = Event::Open {
        relayed,
        client: client.client,
    };
    assert_eq!(rig.events(), [open]);
    rig.wait(500);
    rig.refresh(&mut client, 0x7fff_ffff).expect(Class::Success);
    rig.wait(3_599);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 1);
    rig.wait(1);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 0);
    let closed = Event::Closed {
        relayed,
        client: client.client,
    };
    assert_eq!(rig.events(), [closed]);
}

#[test]
fn what_has_expired_is_gone_before_its_timer_runs() {
    let mut rig = Rig::new();
    let (mut client, first) = rig.allocated(CLIENT);
    rig.permit(&mut client, NODE).expect(Class::Success);
    rig.wait(600);
    assert!(rig.send(&mut client, NODE).is_err());
    let second = rig.allocate(&mut client);
    let events = rig.events();
    let client = client.client;
    let closed = Event::Closed {
        relayed: first,
        client,
    };
    let open = Event::Open {
        relayed: second,
        client,
    };
    assert_eq!(events[2..], [closed, open]);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 1);
}

#[test]
fn a_refresh_of_nothing_ends_it_and_everything_after_is_a_mismatch() {
    let mut rig = Rig::new();
    let (mut client, relayed) = rig.allocated(CLIENT);
    rig.events();
    let answer = rig.refresh(&mut client, 0);
    answer.expect(Class::Success);
    assert_eq!(answer.number(kinds::LIFETIME), Some(0));
    assert!(
        answer
            .message()
            .integrity()
            .unwrap()
            .fits(client.key().bytes())
    );
    let client_key = client.client;
    let closed = Event::Closed {
        relayed,
        client: client_key,
    };
    assert_eq!(rig.events(), [closed]);
    assert_eq!(rig.refresh(&mut client, 600).code(), Some(437));
    assert_eq!(rig.permit(&mut client, NODE).code(), Some(437));
    assert_eq!(rig.bind(&mut client, 0x4000, NODE).code(), Some(437));
}

#[test]
fn one_family_of_two_can_be_ended() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    asked(
        &mut rig,
        &mut client,
        &[(kinds::ADDITIONAL_ADDRESS_FAMILY, &V6)],
    );
    let end = |rig: &mut Rig, client: &mut TestClient, family: &[u8]| {
        let answer = rig.ask(client, Method::Refresh, |writer| {
            writer
                .number(kinds::LIFETIME, 0)
                .attribute(kinds::REQUESTED_ADDRESS_FAMILY, family);
        });
        answer.code()
    };
    assert_eq!(end(&mut rig, &mut client, &V6), None);
    assert_eq!(rig.server.allocations(), 1);
    assert_eq!(rig.permit(&mut client, NODE_V6).code(), Some(443));
    rig.permit(&mut client, NODE).expect(Class::Success);
    assert_eq!(end(&mut rig, &mut client, &V6), Some(443));
    assert_eq!(end(&mut rig, &mut client, &V4), None);
    assert_eq!(rig.server.allocations(), 0);
}

#[test]
fn a_stream_that_ends_takes_its_allocation_with_it() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    client.client = Client::stream(Transport::Tcp, StreamId(1), addr(CLIENT), addr(LISTENING));
    rig.allocate(&mut client);
    let again = Client::stream(Transport::Tcp, StreamId(2), addr(CLIENT), addr(LISTENING));
    rig.server.client_gone(&again);
    assert_eq!(rig.server.allocations(), 1, "another connection from there");
    rig.server.client_gone(&client.client);
    assert_eq!(rig.server.allocations(), 0);
    let counts = rig.server.counts().of(Transport::Tcp);
    assert_eq!((counts.allocations_made, counts.allocations_ended), (1, 1));
}

#[test]
fn shards_never_give_out_the_same_port() {
    for offset in 0..3 {
        let mut config = config();
        config.relay = RelayAddresses {
            step: NonZeroU16::new(3).unwrap(),
            offset,
            ..config.relay
        };
        let mut rig = Rig::with(config);
        for port in 1..50 {
            let (_, relayed) = rig.allocated(&format!("192.0.2.7:{port}"));
            assert_eq!((relayed.port() - 49_152) / 2 % 3, offset);
        }
    }
}
