//! Owners of sessions, and a data plane without capacity.

use serde_json::json;

use crate::client::TestServer;
use crate::fake::FakeNode;

#[tokio::test]
async fn sessions_are_kept_by_the_lease_of_the_server_that_has_their_sockets() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    ann.publish().await;
    node.until(|held| held.session_by_name.len() == 2).await;
    let first = node.held(|held| held.owner.clone());
    assert!(
        !first.is_empty(),
        "the lease is renewed before anything else"
    );
    let owners = |held: &mut crate::fake::Held| {
        let sessions = held.session_by_name.values();
        sessions
            .map(|session| session.owner.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(node.held(owners), [first.clone(), first.clone()]);

    let server = TestServer::start_in(server.kill(), &["--grace-seconds", "30"]).await;
    server.running.connected().await;
    node.until(|held| {
        let owner = held.owner.clone();
        owner != first
            && held
                .session_by_name
                .values()
                .all(|session| session.owner == owner)
    })
    .await;
}

#[tokio::test]
async fn a_full_data_plane_refuses_by_name_and_is_tried_again() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    node.held(|held| held.limit = Some(0));
    let mut ann = server.join("r", "ann").await;
    let lost = ann.until("media").await;
    assert_eq!(
        (&lost["state"], &lost["reason"]),
        (&json!("lost"), &json!("node_full"))
    );
    let offer = json!({"type": "offer", "sdp": "v=0", "tracks": [
        {"mid": "0", "kind": "video", "source": "camera"},
    ]});
    let refused = ann.ask(offer.clone()).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("node_full"), &json!(true)),
        "{refused}"
    );
    node.held(|held| held.limit = None);
    assert_eq!(
        ann.until("media").await["state"],
        "ready",
        "once, and no other"
    );
    assert_eq!(ann.ask(offer).await["type"], "answer");
}
