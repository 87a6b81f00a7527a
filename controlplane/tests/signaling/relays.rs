//! TURN credentials: with `joined`, and again on request.

use std::time::Duration;

use serde_json::{Value, json};
use spillway_controlplane::turn::Credential;
use spillway_wire::turn::user_id;

use crate::client::{Client, TestServer};
use crate::fake::FakeNode;

const RELAY_SECRET: &str = "a-secret-of-the-relay";
const TTL_S: u64 = 120;

async fn server_with_turn() -> TestServer {
    let ttl_s = TTL_S.to_string();
    TestServer::start(&["--turn-secret", RELAY_SECRET, "--turn-ttl-seconds", &ttl_s]).await
}

async fn fresh(client: &mut Client) -> Value {
    let reply = client.ask(json!({"type": "ice_servers"})).await;
    assert_eq!(reply["type"], "ice_servers", "{reply}");
    reply
}

/// Checks the credential of the only TURN server for `identity` in room "r"; returns its expiry.
fn expiry(message: &Value, identity: &str) -> u64 {
    let servers = message["ice_servers"].as_array().unwrap();
    let [server] = &servers[..] else {
        panic!("not one server: {message}")
    };
    assert_eq!(server["urls"], json!(["turn:127.0.0.1:3478?transport=udp"]));
    let username = server["username"].as_str().unwrap();
    let (expiry, user) = username.split_once(':').unwrap();
    assert_eq!(user, user_id(RELAY_SECRET.as_bytes(), "r", identity));
    let expiry = expiry.parse().unwrap();
    let minted = Credential::mint(RELAY_SECRET.as_bytes(), user, expiry);
    assert_eq!(server["credential"], json!(minted.password));
    expiry
}

#[tokio::test]
async fn who_asks_later_may_relay_for_longer() {
    let server = server_with_turn().await;
    let _node = FakeNode::start(&server.socket());
    let mut early = server.join("r", "early").await;
    // A client that joined before the node was known gets credentials later.
    while fresh(&mut early).await["ice_servers"] == json!([]) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut ann = server.join("r", "ann").await;
    assert_eq!(ann.joined["ice_ttl_s"], TTL_S);
    let first = expiry(&ann.joined, "ann");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let renewed = fresh(&mut ann).await;
    assert_eq!(renewed["ice_ttl_s"], TTL_S);
    assert!(expiry(&renewed, "ann") > first, "{renewed} after {first}");
    ann.send(&json!({"type": "ice_servers"})).await;
    let without_id = ann.until("ice_servers").await;
    assert_eq!(without_id.get("id"), None);
}

#[tokio::test]
async fn where_nobody_relays_the_list_is_empty_and_has_no_end() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let renewed = fresh(&mut ann).await;
    for message in [&ann.joined, &renewed] {
        assert_eq!(message["ice_servers"], json!([]));
        assert_eq!(message.get("ice_ttl_s"), None);
    }
}

#[tokio::test]
async fn asking_counts_as_a_message() {
    let server = TestServer::start(&["--messages-per-second", "5"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    for _ in 0..40 {
        ann.send(&json!({"type": "ice_servers"})).await;
    }
    let refused = ann.until("error").await;
    assert_eq!(refused["code"], "too_fast");
}
