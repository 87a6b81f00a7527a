//! Limits of allocations per user and source, and their release.

use spillway_wire::stun::{Class, Method};

use super::rig::*;
use crate::turn::{Config, DenyReason, Limits};

fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

fn code(rig: &mut Rig, remote: &str, user: &str) -> Option<u16> {
    let mut client = TestClient::user(remote, user);
    rig.greet(&mut client);
    rig.ask(&mut client, Method::Allocate, udp).code()
}

#[test]
fn a_user_has_a_quota_whatever_its_expiry() {
    let mut rig = Rig::with(limited(|limits| limits.allocations_per_user = 2));
    assert_eq!(code(&mut rig, "192.0.2.1:1", "alice"), None);
    let mut second = TestClient::new("192.0.2.2:1");
    second.mint(format!("{}:alice", START_S + 77).as_bytes(), SECRET);
    rig.allocate(&mut second);
    assert_eq!(code(&mut rig, "192.0.2.3:1", "alice"), Some(486));
    assert_eq!(code(&mut rig, "192.0.2.3:2", "bob"), None);
    rig.refresh(&mut second, 0).expect(Class::Success);
    assert_eq!(code(&mut rig, "192.0.2.3:3", "alice"), None);
    assert_eq!(rig.server.counts().denied(DenyReason::UserQuota), 1);
}

#[test]
fn a_source_has_a_quota_and_an_ipv6_source_is_a_network() {
    let mut rig = Rig::with(limited(|limits| limits.allocations_per_source = 2));
    for (number, (remote, expected)) in [
        ("192.0.2.1:1", None),
        ("192.0.2.1:2", None),
        ("192.0.2.1:3", Some(486)),
        ("192.0.2.2:3", None),
        ("[2001:db8::1]:1", None),
        ("[2001:db8::2]:1", None),
        ("[2001:db8::3]:1", Some(486)),
        ("[2001:db8:0:1::3]:1", None),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}");
        assert_eq!(code(&mut rig, remote, &user), expected, "{remote}");
    }
}

#[test]
fn all_together_have_a_quota() {
    let mut rig = Rig::with(limited(|limits| limits.allocations = 3));
    for port in 1..=3 {
        assert_eq!(code(&mut rig, &format!("192.0.2.1:{port}"), "a"), None);
    }
    assert_eq!(code(&mut rig, "192.0.2.1:4", "a"), Some(508));
    rig.wait(600);
    rig.run_timers();
    assert_eq!(rig.server.quotas.accounts(), (0, 0));
    assert_eq!(code(&mut rig, "192.0.2.1:4", "a"), None);
}

#[test]
fn ports_run_out_and_come_back() {
    let mut config = config();
    config.relay.ports = 50_000..=50_003;
    let mut rig = Rig::with(config);
    let (mut first, _) = rig.allocated("192.0.2.1:1");
    for port in 2..=4 {
        rig.allocated(&format!("192.0.2.1:{port}"));
    }
    assert_eq!(code(&mut rig, "192.0.2.1:5", "alice"), Some(508));
    assert_eq!(rig.server.quotas.accounts().0, 1);
    rig.refresh(&mut first, 0).expect(Class::Success);
    assert_eq!(code(&mut rig, "192.0.2.1:5", "alice"), None);
}

#[test]
fn an_allocation_relays_no_faster_than_it_may() {
    let mut rig = Rig::with(limited(|limits| {
        limits.allocation_bytes_per_second = 1_000;
        limits.bytes_per_second = 1_500;
    }));
    let (mut alice, relayed) = rig.allocated("192.0.2.1:1");
    let (mut bob, _) = rig.allocated("192.0.2.1:2");
    for client in [&mut alice, &mut bob] {
        rig.permit(client, NODE).expect(Class::Success);
    }
    let bytes = alice.send(addr(NODE), &[1; 600]);
    let too_fast = Err(DenyReason::Bandwidth);
    assert!(rig.relay(&alice.client, &bytes).is_ok());
    assert_eq!(rig.relay(&alice.client, &bytes), too_fast);
    let now = rig.now.instant;
    let back = rig.server.handle_peer(now, relayed, addr(NODE), &[1; 600]);
    assert_eq!(back.unwrap_err(), DenyReason::Bandwidth, "both ways share");
    let bytes = bob.send(addr(NODE), &[1; 950]);
    assert_eq!(
        rig.relay(&bob.client, &bytes),
        Err(DenyReason::TotalBandwidth)
    );
    rig.wait(1);
    let bytes = alice.send(addr(NODE), &[1; 600]);
    assert!(rig.relay(&alice.client, &bytes).is_ok());
    assert_eq!(rig.server.counts().denied(DenyReason::Bandwidth), 2);
}

#[test]
fn making_and_ending_allocations_does_not_make_anything_grow() {
    let mut rig = Rig::new();
    let mut client = TestClient::new("192.0.2.1:1");
    let cycle = |rig: &mut Rig, client: &mut TestClient| {
        rig.allocate(client);
        rig.refresh(client, 3_600).expect(Class::Success);
        rig.refresh(client, 0).expect(Class::Success);
        rig.events();
        rig.wait(1);
        rig.run_timers();
    };
    let kept = |rig: &mut Rig, client: &mut TestClient, cycles: usize| {
        let memory = allocation_counter::measure(|| {
            for _ in 0..cycles {
                cycle(rig, client);
            }
        });
        memory.bytes_current
    };
    client.mint(format!("{}:alice", START_S + 86_000).as_bytes(), SECRET);
    kept(&mut rig, &mut client, 1_000);
    assert!(kept(&mut rig, &mut client, 5_000) < 1_024);
}
