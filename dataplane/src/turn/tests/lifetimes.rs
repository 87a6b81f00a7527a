//! Lifetime of an allocation: at most one lifetime after its credentials, its session or its secret.

use std::time::Duration;

use spillway_wire::stun::{Class, Method, kinds};

use super::rig::*;
use crate::limits::{ALLOCATION_LIFETIME, MAX_ALLOCATION_LIFETIME, SESSION_ANSWER_TIME};
use crate::turn::{Config, DenyReason, Event, Peers};

const CLIENT: &str = "192.0.2.7:40000";
/// Validity of the credentials in these tests, in seconds.
const TTL_S: u64 = 300;
const LIFETIME_S: u64 = ALLOCATION_LIFETIME.as_secs();
const GRACE_S: u64 = 120;

/// An allocation with credentials that are valid for [`TTL_S`], and its relayed address.
fn short_lived(rig: &mut Rig) -> (TestClient, std::net::SocketAddr) {
    let mut client = TestClient::new(CLIENT);
    mint(rig, &mut client, SECRET);
    let relayed = rig.allocate(&mut client);
    rig.permit(&mut client, MEDIA).expect(Class::Success);
    rig.permit(&mut client, NODE).expect(Class::Success);
    (client, relayed)
}

fn mint(rig: &Rig, client: &mut TestClient, secret: &[u8]) {
    let expiry = rig.now.unix_s + TTL_S;
    client.mint(format!("{expiry}:alice").as_bytes(), secret);
}

/// Error code of a Refresh, or the lifetime that it granted. Nonces that are too old are replaced.
fn refreshed(
    rig: &mut Rig,
    client: &mut TestClient,
    requested_s: u32,
) -> (Option<u16>, Option<u32>) {
    let mut answer = rig.refresh(client, requested_s);
    if answer.code() == Some(438) {
        client.nonce = answer.get(kinds::NONCE).unwrap();
        answer = rig.refresh(client, requested_s);
    }
    (answer.code(), answer.number(kinds::LIFETIME))
}

fn with_grace() -> Config {
    let mut config = config();
    config.secret_grace = Duration::from_secs(GRACE_S);
    config
}

fn seconds(value: u64) -> u32 {
    u32::try_from(value).unwrap()
}

#[test]
fn an_allocation_ends_at_most_a_lifetime_after_its_credentials() {
    for requested in [
        0_u64,
        1,
        LIFETIME_S,
        MAX_ALLOCATION_LIFETIME.as_secs(),
        u64::from(u32::MAX),
    ] {
        let mut rig = Rig::new();
        let mut client = TestClient::new(CLIENT);
        mint(&rig, &mut client, SECRET);
        rig.greet(&mut client);
        let answer = rig.ask(&mut client, Method::Allocate, |writer| {
            udp(writer);
            writer.number(kinds::LIFETIME, seconds(requested));
        });
        let granted = answer.number(kinds::LIFETIME).unwrap();
        assert!(u64::from(granted) <= TTL_S + LIFETIME_S, "{granted} s");
        assert!(u64::from(granted) >= LIFETIME_S, "{granted} s");
        rig.wait(TTL_S - 1);
        let (code, granted) = refreshed(&mut rig, &mut client, seconds(requested.max(1)));
        assert_eq!(code, None);
        assert!(granted.unwrap() <= seconds(1 + LIFETIME_S));
        rig.wait(1);
        assert_eq!(refreshed(&mut rig, &mut client, 600), (Some(401), None));
        assert_eq!(rig.server.counts().denied(DenyReason::Expired), 1);
        rig.wait(LIFETIME_S);
        rig.run_timers();
        assert_eq!(rig.server.allocations(), 0, "asked for {requested} s");
    }
}

#[test]
fn what_credentials_no_longer_prolong_can_be_used_and_ended_until_then() {
    let mut rig = Rig::new();
    let (mut client, _) = short_lived(&mut rig);
    rig.wait(TTL_S + 1);
    assert_eq!(refreshed(&mut rig, &mut client, 600).0, Some(401));
    rig.permit(&mut client, NODE).expect(Class::Success);
    rig.bind(&mut client, 0x4000, NODE).expect(Class::Success);
    assert!(rig.send(&mut client, NODE).is_ok());
    assert_eq!(refreshed(&mut rig, &mut client, 0), (None, Some(0)));
    assert_eq!(rig.server.allocations(), 0);
}

#[test]
fn the_allocation_of_a_live_session_goes_on_and_ends_a_lifetime_after_it() {
    let mut rig = Rig::new();
    let (mut client, relayed) = short_lived(&mut rig);
    let answer_s = SESSION_ANSWER_TIME.as_secs();
    // A media node answers checks for an hour.
    for _ in 0..3_600 / (answer_s - 10) {
        rig.wait(answer_s - 10);
        let nonce = rig.permit(&mut client, MEDIA).get(kinds::NONCE);
        if let Some(nonce) = nonce {
            client.nonce = nonce;
            rig.permit(&mut client, MEDIA).expect(Class::Success);
        }
        let now = rig.now.instant;
        rig.server
            .handle_peer(now, relayed, addr(MEDIA), b"answer")
            .unwrap();
        let (code, granted) = refreshed(&mut rig, &mut client, 3_600);
        assert_eq!(code, None);
        let left = (START_S + TTL_S).saturating_sub(rig.now.unix_s);
        assert_eq!(granted, Some(seconds(left + LIFETIME_S).min(3_600)));
    }
    // The participant leaves: the peer stops answering.
    rig.wait(answer_s);
    assert_eq!(refreshed(&mut rig, &mut client, 3_600).0, Some(401));
    rig.wait(LIFETIME_S - answer_s);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 0);
}

#[test]
fn peers_on_the_internet_do_not_extend_an_allocation() {
    let mut config = config();
    config.peers = Peers::Public;
    let mut rig = Rig::with(config);
    let mut client = TestClient::new(CLIENT);
    mint(&rig, &mut client, SECRET);
    let relayed = rig.allocate(&mut client);
    rig.wait(TTL_S);
    rig.permit(&mut client, "8.8.8.8:53").expect(Class::Success);
    rig.permit(&mut client, MEDIA).expect(Class::Success);
    let now = rig.now.instant;
    rig.server
        .handle_peer(now, relayed, addr("8.8.8.8:53"), b"x")
        .unwrap();
    assert_eq!(refreshed(&mut rig, &mut client, 600).0, Some(401));
    rig.server
        .handle_peer(now, relayed, addr(MEDIA), b"x")
        .unwrap();
    assert_eq!(refreshed(&mut rig, &mut client, 600), (None, Some(600)));
}

#[test]
fn a_media_node_that_is_not_let_in_prolongs_nothing() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    mint(&rig, &mut client, SECRET);
    let relayed = rig.allocate(&mut client);
    rig.wait(TTL_S);
    let now = rig.now.instant;
    let refused = rig.server.handle_peer(now, relayed, addr(MEDIA), b"x");
    assert_eq!(refused.unwrap_err(), DenyReason::NoPermission);
    assert_eq!(refreshed(&mut rig, &mut client, 600).0, Some(401));
}

#[test]
fn a_replaced_secret_is_good_for_its_grace_and_so_is_what_was_made_with_it() {
    let mut config = with_grace();
    config.secrets = vec![b"new"[..].into(), SECRET.into()];
    let mut rig = Rig::with(config);
    let (mut old, relayed) = short_lived(&mut rig);
    let mut new = TestClient::new("192.0.2.7:40001");
    mint(&rig, &mut new, b"new");
    rig.allocate(&mut new);
    rig.events();
    // This applies also while data is relayed.
    let now = rig.now.instant;
    rig.server
        .handle_peer(now, relayed, addr(MEDIA), b"x")
        .unwrap();
    rig.wait(GRACE_S - 20);
    let (code, granted) = refreshed(&mut rig, &mut old, 600);
    assert_eq!((code, granted), (None, Some(20)));
    assert_eq!(refreshed(&mut rig, &mut new, 600), (None, Some(600)));
    rig.wait(20);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 1, "that of the new one");
    let client = old.client;
    assert_eq!(rig.events(), [Event::Closed { relayed, client }]);
    let mut late = TestClient::new("192.0.2.7:40002");
    rig.greet(&mut late);
    assert_eq!(rig.ask(&mut late, Method::Allocate, udp).code(), Some(401));
    assert_eq!(rig.server.counts().denied(DenyReason::Unauthorized), 1);
}

#[test]
fn a_secret_that_is_taken_away_ends_what_was_made_with_it_after_the_grace() {
    let mut rig = Rig::with(with_grace());
    let (mut client, _) = short_lived(&mut rig);
    let now = rig.now.instant;
    rig.server.set_secrets(&[b"new"[..].into()], now).unwrap();
    let mut late = TestClient::new("192.0.2.7:40001");
    rig.greet(&mut late);
    assert_eq!(rig.ask(&mut late, Method::Allocate, udp).code(), Some(401));
    assert_eq!(
        refreshed(&mut rig, &mut client, 600),
        (None, Some(seconds(GRACE_S)))
    );
    // The secret is set again, which applies only to allocations made from now on.
    rig.wait(GRACE_S - 1);
    let now = rig.now.instant;
    rig.server.set_secrets(&[SECRET.into()], now).unwrap();
    assert_eq!(refreshed(&mut rig, &mut client, 600), (None, Some(1)));
    let mut again = TestClient::new("192.0.2.7:40002");
    rig.allocate(&mut again);
    rig.wait(1);
    rig.run_timers();
    assert_eq!(rig.server.allocations(), 1);
}

#[test]
fn naming_the_same_secrets_again_does_not_begin_the_grace_anew() {
    let mut config = with_grace();
    let secrets = [b"new"[..].into(), SECRET.into()];
    config.secrets = secrets.to_vec();
    let mut rig = Rig::with(config);
    rig.wait(GRACE_S - 1);
    let now = rig.now.instant;
    rig.server.set_secrets(&secrets, now).unwrap();
    rig.wait(1);
    let mut late = TestClient::new("192.0.2.7:40002");
    rig.greet(&mut late);
    assert_eq!(rig.ask(&mut late, Method::Allocate, udp).code(), Some(401));
}

#[test]
fn without_a_grace_the_second_secret_is_none() {
    let mut config = with_grace();
    config.secret_grace = Duration::ZERO;
    config.secrets = vec![b"new"[..].into(), SECRET.into()];
    let mut rig = Rig::with(config);
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    assert_eq!(
        rig.ask(&mut client, Method::Allocate, udp).code(),
        Some(401)
    );
}
