//! Unauthenticated clients cannot use memory, and cannot attack others.

use spillway_wire::stun::{Class, Method, kinds};

use super::rig::*;
use crate::limits::{REFLECTION_BURST_BYTES, REFLECTION_BYTES_PER_SECOND, REFLECTION_SLOTS};
use crate::turn::{Client, DenyReason, Outcome, StreamId, Transport};

/// Source addresses as a flood forges them.
fn source(number: u32) -> Client {
    let ip = std::net::Ipv4Addr::from(0x0b00_0000 + number.wrapping_mul(2_654_435_761) / 256);
    let port = 1_024 + (number % 60_000) as u16;
    Client::udp((ip, port).into(), addr(LISTENING))
}

#[test]
fn a_flood_of_forged_allocates_leaves_nothing_behind() {
    let mut rig = Rig::new();
    let mut client = TestClient::new("192.0.2.7:1");
    let hello = client.unsigned(Method::Allocate, udp);
    rig.greet(&mut client);
    client.password = "guess".into();
    let guess = client.request(Method::Allocate, udp);
    let memory = allocation_counter::measure(|| {
        for number in 0..200_000 {
            let from = source(number);
            let message = if number % 2 == 0 { &hello } else { &guess };
            assert!(!matches!(rig.handle(&from, message), Outcome::Relay(_)));
        }
    });
    assert_eq!(memory.count_total, 0, "bytes: {}", memory.bytes_total);
    let server = &rig.server;
    assert_eq!(server.allocations(), 0);
    assert_eq!(server.allocation_by_client.capacity(), 0);
    assert_eq!(server.allocations.capacity(), 0);
    assert_eq!(server.quotas.accounts(), (0, 0));
    assert_eq!(server.events.len(), 0);
    assert_eq!(server.poll_timeout(), None);
    assert_eq!(server.reflection.slots(), REFLECTION_SLOTS);
    let denied = |reason| server.counts().denied(reason);
    assert!(denied(DenyReason::NoCredentials) >= 100_000);
    assert!(denied(DenyReason::StaleNonce) >= 99_999);
}

#[test]
fn a_victim_gets_no_more_than_its_budget() {
    let mut rig = Rig::new();
    let mut client = TestClient::new("192.0.2.7:1");
    let mut excess_bytes = 0;
    let mut seconds = 0;
    for method in [Method::Allocate, Method::Binding, Method::Refresh] {
        let hello = client.unsigned(method, |_| {});
        for number in 0..20_000_u32 {
            // All addresses are in one network, which shares the victim's link.
            let ip = std::net::Ipv4Addr::new(192, 0, 2, (number % 256) as u8);
            let from = Client::udp((ip, 7).into(), addr(LISTENING));
            if let Outcome::Reply(reply) = rig.handle(&from, &hello) {
                excess_bytes += reply.len().saturating_sub(hello.len());
            }
        }
        rig.wait(1);
        seconds += 1;
    }
    let burst = REFLECTION_BURST_BYTES as usize;
    let budget = burst + seconds * REFLECTION_BYTES_PER_SECOND as usize;
    assert!(excess_bytes <= budget, "{excess_bytes} of {budget}");
    assert!(excess_bytes > burst / 2, "clients have to get in");
    assert!(rig.server.counts().denied(DenyReason::ReflectionBudget) > 50_000);
    let mut other = TestClient::new("192.0.3.7:1");
    rig.greet(&mut other);
}

#[test]
fn what_is_longer_than_its_answer_is_always_answered() {
    let mut rig = Rig::new();
    let mut client = TestClient::new("192.0.2.7:1");
    let hello = client.unsigned(Method::Allocate, |writer| {
        udp(writer);
        writer.attribute(kinds::SOFTWARE, &[b's'; 200]);
    });
    for _ in 0..5_000 {
        assert!(rig.answer(&client.client, &hello).0.len() <= hello.len());
    }
}

#[test]
fn a_connection_has_proven_where_it_is() {
    let mut rig = Rig::new();
    let mut client = TestClient::new("192.0.2.7:1");
    client.client = Client::stream(
        Transport::Tcp,
        StreamId(1),
        client.client.remote,
        addr(LISTENING),
    );
    for _ in 0..2_000 {
        rig.greet(&mut client);
    }
}

#[test]
fn a_binding_request_needs_no_authentication() {
    let mut rig = Rig::new();
    for remote in ["192.0.2.7:40000", "[2001:db8::7]:40000"] {
        let mut client = TestClient::new(remote);
        let request = client.unsigned(Method::Binding, |_| {});
        let answer = rig.answer(&client.client, &request);
        answer.expect(Class::Success);
        let mapped = answer.address(kinds::XOR_MAPPED_ADDRESS);
        assert_eq!(mapped, Some(addr(remote)));
    }
    let mut client = TestClient::new("192.0.2.7:40000");
    let unknown = client.unsigned(Method::Binding, |writer| {
        writer.attribute(0x7001, b"");
    });
    assert_eq!(rig.answer(&client.client, &unknown).code(), Some(420));
}

#[test]
fn unauthenticated_clients_cannot_detect_allocations() {
    let mut rig = Rig::new();
    let (client, _) = rig.allocated("192.0.2.7:40000");
    let mut stranger = TestClient::new("192.0.2.7:40000");
    for method in [
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ] {
        let request = stranger.unsigned(method, |_| {});
        let with = rig.answer(&client.client, &request).code();
        let elsewhere = Client::udp(addr("192.0.2.7:40001"), addr(LISTENING));
        let without = rig.answer(&elsewhere, &request).code();
        assert_eq!((with, without), (Some(401), Some(401)));
    }
}
