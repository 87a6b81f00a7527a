//! Tests of credentials, nonces and password algorithms.

use spillway_wire::stun::{Class, Fingerprint, Method, kinds};

use super::rig::*;
use crate::limits::{MAX_REALM_BYTES, MAX_USERNAME_BYTES};
use crate::turn::{Client, ConfigError, DenyReason, Outcome};

const CLIENT: &str = "192.0.2.7:40000";

/// Error code of an Allocate of `client`, which has a nonce.
fn code(rig: &mut Rig, client: &mut TestClient) -> Option<u16> {
    rig.ask(client, Method::Allocate, udp).code()
}

#[test]
fn a_client_is_challenged_and_then_let_in() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    let hello = client.unsigned(Method::Allocate, udp);
    let answer = rig.answer(&client.client, &hello);
    assert_eq!(answer.code(), Some(401));
    assert_eq!((hello.len(), answer.0.len()), (28, 108)); // the sizes that the reflection budget is made for
    assert!(
        answer
            .get(kinds::NONCE)
            .unwrap()
            .starts_with(b"obMatJos2gAAA")
    );
    assert_eq!(answer.get(kinds::MESSAGE_INTEGRITY), None);
    rig.greet(&mut client);
    let answer = rig.ask(&mut client, Method::Allocate, udp);
    answer.expect(Class::Success);
    assert_eq!(answer.number(kinds::LIFETIME), Some(600));
    assert_eq!(
        answer.address(kinds::XOR_MAPPED_ADDRESS),
        Some(addr(CLIENT))
    );
    let relayed = answer.address(kinds::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(relayed.ip().to_string(), RELAY_V4);
    let integrity = answer.message();
    assert!(integrity.integrity().unwrap().fits(client.key().bytes()));
    assert_eq!(integrity.fingerprint(), Fingerprint::Absent);
}

#[test]
fn the_new_algorithms_work_from_end_to_end() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    client.mode = Mode::Sha256;
    client.fingerprint = true;
    rig.greet(&mut client);
    for method in [Method::Allocate, Method::Refresh] {
        let answer = rig.ask(&mut client, method, udp);
        answer.expect(Class::Success);
        let message = answer.message();
        assert!(
            message
                .integrity_sha256()
                .unwrap()
                .fits(client.key().bytes())
        );
        assert!(message.integrity().is_none());
        assert_eq!(message.fingerprint(), Fingerprint::Fits);
    }
}

#[test]
fn a_weakened_offer_is_found_out() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    client.mode = Mode::Sha256;
    rig.greet(&mut client);
    // A middlebox removed SHA-256 from the list, or the client repeats only a part of the list.
    let cases: [&[(u16, &[u8])]; 4] = [
        &[
            (kinds::PASSWORD_ALGORITHMS, &[0, 1, 0, 0]),
            (kinds::PASSWORD_ALGORITHM, &[0, 1, 0, 0]),
        ],
        &[(kinds::PASSWORD_ALGORITHM, &[0, 1, 0, 0])],
        &[(kinds::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])],
        &[
            (kinds::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0]),
            (kinds::PASSWORD_ALGORITHM, &[0, 9, 0, 0]),
        ],
    ];
    for attributes in cases {
        client.mode = Mode::Classic;
        let answer = rig.ask(&mut client, Method::Allocate, |writer| {
            udp(writer);
            for (kind, value) in attributes {
                writer.attribute(*kind, value);
            }
        });
        assert_eq!(answer.code(), Some(400), "{attributes:?}");
    }
    // A nonce with changed features is not valid.
    client.nonce[9..13].copy_from_slice(b"AAAA");
    assert_eq!(code(&mut rig, &mut client), Some(438));
}

#[test]
fn nonces_are_not_predictable_and_not_transferable() {
    let mut rig = Rig::new();
    let mut other_config = config();
    other_config.nonce_secret = [8; 32];
    let mut other = Rig::with(other_config);
    let mut client = TestClient::new(CLIENT);
    other.greet(&mut client);
    let foreign = client.nonce.clone();
    rig.greet(&mut client);
    assert_ne!(foreign, client.nonce);
    let own = std::mem::replace(&mut client.nonce, foreign);
    assert_eq!(code(&mut rig, &mut client), Some(438), "forged");

    let mut thief = TestClient::new("192.0.2.7:40001");
    thief.nonce.clone_from(&own);
    assert_eq!(code(&mut rig, &mut thief), Some(438), "another client's");

    client.nonce = own;
    rig.wait(600);
    let answer = rig.ask(&mut client, Method::Allocate, udp);
    assert_eq!(answer.code(), Some(438), "expired");
    client.nonce = answer.get(kinds::NONCE).unwrap();
    assert_eq!(code(&mut rig, &mut client), None, "the new one is good");
}

#[test]
fn a_rotated_nonce_secret_lets_clients_go_on() {
    let mut rig = Rig::new();
    let (mut client, _) = rig.allocated(CLIENT);
    rig.server.rotate_nonce_secret(&[9; 32]);
    rig.refresh(&mut client, 600).expect(Class::Success);
    rig.server.rotate_nonce_secret(&[10; 32]);
    assert_eq!(rig.refresh(&mut client, 600).code(), Some(438));
}

#[test]
fn wrong_expired_and_distant_credentials_are_refused() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let day = 24 * 3_600;
    for (username, secret, expected) in [
        (format!("{}:a", START_S + 60), &b"guess"[..], Some(401)),
        (format!("{}:a", START_S), SECRET, Some(401)),
        (format!("{}:a", START_S - 1), SECRET, Some(401)),
        (format!("{}:a", START_S + day + 1), SECRET, Some(401)),
        ("alice".into(), SECRET, Some(401)),
        (format!("{}", START_S - 1), SECRET, Some(401)),
        (format!("{}", START_S + day + 1), SECRET, Some(401)),
        (format!("{}x", START_S + 60), SECRET, Some(401)),
        (format!("{}", START_S + 60), &b"guess"[..], Some(401)),
        (format!("{}:a", START_S + day), SECRET, None),
    ] {
        client.mint(username.as_bytes(), secret);
        assert_eq!(code(&mut rig, &mut client), expected, "{username}");
    }
}

#[test]
fn an_expiry_without_a_user_is_taken() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    client.mint(format!("{}", START_S + 60).as_bytes(), SECRET);
    assert_eq!(code(&mut rig, &mut client), None);
}

#[test]
fn missing_expired_and_wrong_credentials_are_counted_separately() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let (good, late) = (format!("{}:a", START_S + 60), format!("{}:a", START_S - 60));
    let ahead = format!("{}:a", START_S + 2 * 24 * 3_600);
    for (username, secret, realm, reason) in [
        (&*late, SECRET, REALM, DenyReason::Expired),
        (&*ahead, SECRET, REALM, DenyReason::Expired),
        ("alice", SECRET, REALM, DenyReason::Expired),
        (&*good, b"guess", REALM, DenyReason::Unauthorized),
        (&*good, SECRET, "elsewhere", DenyReason::Unauthorized),
    ] {
        client.mint(username.as_bytes(), secret);
        client.realm = realm.into();
        let before = rig.server.counts().denied(reason);
        let answer = rig.ask(&mut client, Method::Allocate, udp);
        assert_eq!(answer.code(), Some(401), "{username}");
        assert_eq!(answer.get(kinds::REALM).as_deref(), Some(REALM.as_bytes()));
        client.nonce = answer.get(kinds::NONCE).unwrap();
        assert_eq!(
            rig.server.counts().denied(reason),
            before + 1,
            "{username} in {realm}"
        );
    }
    let denied = |reason| rig.server.counts().denied(reason);
    assert_eq!(denied(DenyReason::NoCredentials), 1, "the greeting");
    assert_eq!(denied(DenyReason::Expired), 3);
    assert_eq!(denied(DenyReason::Unauthorized), 2);
}

#[test]
fn replayed_requests_are_of_no_use_elsewhere_or_later() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    let request = client.request(Method::Allocate, udp);
    let elsewhere = Client::udp(addr("192.0.2.66:9"), addr(LISTENING));
    assert_eq!(rig.answer(&elsewhere, &request).code(), Some(438));
    rig.wait(3_600);
    assert_eq!(rig.answer(&client.client, &request).code(), Some(438));
    rig.greet(&mut client);
    assert_eq!(
        code(&mut rig, &mut client),
        Some(401),
        "the credentials are over"
    );
}

#[test]
fn two_secrets_are_good_while_one_replaces_the_other() {
    let mut rig = Rig::new();
    let secrets = [b"new"[..].into(), SECRET.into()];
    rig.server.set_secrets(&secrets, rig.now.instant).unwrap();
    for (port, secret, expected) in [
        (1, &b"new"[..], None),
        (2, SECRET, None),
        (3, b"older", Some(401)),
    ] {
        let mut client = TestClient::new(&format!("192.0.2.7:{port}"));
        let username = client.username.clone();
        client.mint(&username, secret);
        rig.greet(&mut client);
        assert_eq!(code(&mut rig, &mut client), expected, "{secret:?}");
    }
    let none = rig.server.set_secrets(&[], rig.now.instant).unwrap_err();
    assert_eq!(none, ConfigError::Secrets { count: 0, limit: 2 });
}

#[test]
fn other_credentials_do_not_move_an_allocation() {
    let mut rig = Rig::new();
    let (mut alice, _) = rig.allocated(CLIENT);
    let mut bob = TestClient::user(CLIENT, "bob");
    rig.greet(&mut bob);
    assert_eq!(rig.refresh(&mut bob, 0).code(), Some(441));
    bob.password = "guess".into();
    assert_eq!(rig.refresh(&mut bob, 0).code(), Some(401));
    alice.password = "guess".into();
    assert_eq!(rig.refresh(&mut alice, 0).code(), Some(401));
    assert_eq!(rig.server.allocations(), 1);
}

#[test]
fn usernames_of_any_bytes_are_harmless() {
    let mut rig = Rig::new();
    let prefix = format!("{}:", START_S + 60);
    for (tail, expected) in [
        (&b"%s%n%x%p"[..], None),
        (b"\xe3\x83\x9e", None),
        (b"a\0b", Some(400)),
        (b"\x1b[2J", Some(400)),
        (b"\xff\xfe", Some(400)),
        (b"\n", Some(400)),
        (b"", None),
    ] {
        let mut client = TestClient::new(CLIENT);
        client.mint(&[prefix.as_bytes(), tail].concat(), SECRET);
        rig.greet(&mut client);
        assert_eq!(code(&mut rig, &mut client), expected, "{tail:?}");
        rig.server.client_gone(&client.client);
    }
}

#[test]
fn oversized_attributes_are_refused() {
    let mut rig = Rig::new();
    let prefix = format!("{}:", START_S + 60);
    for (bytes, expected) in [
        (MAX_USERNAME_BYTES, None),
        (MAX_USERNAME_BYTES + 1, Some(400)),
        (60_000, Some(400)),
    ] {
        let mut client = TestClient::new(CLIENT);
        let mut username = prefix.clone().into_bytes();
        username.resize(bytes, b'x');
        client.mint(&username, SECRET);
        rig.greet(&mut client);
        assert_eq!(code(&mut rig, &mut client), expected, "{bytes}");
        rig.server.client_gone(&client.client);
    }
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    for (bytes, expected) in [
        (MAX_REALM_BYTES, 401),
        (MAX_REALM_BYTES + 1, 400),
        (65_000, 400),
    ] {
        client.realm = vec![b'r'; bytes];
        assert_eq!(code(&mut rig, &mut client), Some(expected), "{bytes}");
    }
    client.realm = REALM.into();
    client.nonce = vec![b'n'; 65_000];
    assert_eq!(code(&mut rig, &mut client), Some(438));
}

#[test]
fn incomplete_credentials_are_a_bad_request() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    rig.greet(&mut client);
    for left_out in [kinds::USERNAME, kinds::REALM, kinds::NONCE] {
        let (username, realm, nonce) = (
            client.username.clone(),
            client.realm.clone(),
            client.nonce.clone(),
        );
        let key = client.key();
        let request = client.unsigned(Method::Allocate, |writer| {
            udp(writer);
            for (kind, value) in [
                (kinds::USERNAME, &username),
                (kinds::REALM, &realm),
                (kinds::NONCE, &nonce),
            ] {
                if kind != left_out {
                    writer.attribute(kind, value);
                }
            }
            writer.integrity_sha1(key.bytes());
        });
        let answer = rig.answer(&client.client, &request);
        assert_eq!(answer.code(), Some(400), "{left_out:#06x}");
    }
}

#[test]
fn a_wrong_checksum_is_met_with_silence() {
    let mut rig = Rig::new();
    let mut client = TestClient::new(CLIENT);
    client.fingerprint = true;
    let mut hello = client.unsigned(Method::Allocate, udp);
    let answer = rig.answer(&client.client, &hello);
    assert_eq!(answer.message().fingerprint(), Fingerprint::Fits);
    *hello.last_mut().unwrap() ^= 1;
    let wrong = Outcome::Silent(DenyReason::WrongFingerprint);
    assert_eq!(rig.handle(&client.client, &hello), wrong);
}
