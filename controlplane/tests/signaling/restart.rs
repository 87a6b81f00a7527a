//! The data plane or the control plane ends during a call: the call continues.

use serde_json::json;

use crate::client::{TestServer, token};
use crate::fake::FakeNode;

#[tokio::test]
async fn when_the_data_plane_dies_participants_are_told_and_their_tracks_stay() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    drop(node);
    assert_eq!(ann.until("media").await["state"], "lost");
    assert_eq!(bob.until("media").await["state"], "lost");
    let offer = json!({"type": "offer", "sdp": "v=0", "tracks": [
        {"mid": "0", "kind": "video", "source": "camera", "track": camera},
        {"mid": "1", "kind": "audio", "source": "microphone", "track": microphone, "muted": true},
    ]});
    let refused = ann.ask(offer.clone()).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("media_unavailable"), &json!(true))
    );
    let eve = server.join("r", "eve").await;
    let listed = &eve.joined["participants"];
    assert!(listed.to_string().contains(&camera), "{listed}");
    let node = FakeNode::start(&server.socket());
    assert_eq!(ann.until("media").await["state"], "ready");
    assert_eq!(bob.until("media").await["state"], "ready");
    let answer = ann.ask(offer).await;
    let ids = answer["tracks"].to_string();
    assert!(ids.contains(&camera) && ids.contains(&microphone), "{ids}");
    let offered = bob.until("offer").await["tracks"].to_string();
    assert!(offered.contains(&camera), "{offered}");
    node.until(|held| held.session_by_name.len() == 4).await;
    drop(eve);
}

#[tokio::test]
async fn a_session_that_ends_alone_starts_over_alone() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let session = format!("{}:p", ann.participant());
    node.held(|held| held.session_by_name.remove(&session));
    node.send_event(spillway_wire::dataplane::event::Event::Closed(
        spillway_wire::dataplane::SessionClosed {
            session,
            reason: "the certificate is another one".to_owned(),
            failure: "dtls_fingerprint".to_owned(),
        },
    ));
    let lost = ann.until("media").await;
    assert_eq!(
        (&lost["state"], &lost["reason"]),
        (&"lost".into(), &"dtls_fingerprint".into())
    );
    assert_eq!(ann.until("media").await["state"], "ready");
    ann.publish().await;
    let pong = bob.ask(json!({"type": "ping"})).await;
    assert_eq!(pong["type"], "pong", "nobody else is told of lost media");
}

#[tokio::test]
async fn a_new_control_plane_takes_the_room_over() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let wish = json!({"type": "subscribe", "tracks": [{"track": camera, "max_height": 180}]});
    assert_eq!(bob.ask(wish).await["type"], "ok");
    bob.until("offer").await;
    let before = node.held(|held| {
        held.calls.clear();
        held.session_by_name.clone()
    });
    let server = TestServer::start_in(server.kill(), &["--grace-seconds", "3"]).await;
    server.running.connected().await;
    let (old, participant) = (bob.resume(), bob.participant().to_owned());
    let mut bob = server.connect().await;
    bob.join(json!({"token": token("r", "bob", |_| ()), "resume": old}))
        .await;
    assert_eq!(bob.joined["mode"], "resync", "the epoch is new");
    assert_eq!(bob.participant(), participant);
    let others = &bob.joined["participants"][0];
    assert_eq!(
        (&others["identity"], &others["name"]),
        (&json!("ann"), &json!("name of ann"))
    );
    let tracks = others["tracks"].to_string();
    assert!(
        tracks.contains(&camera) && tracks.contains(&microphone),
        "{tracks}"
    );
    assert!(
        tracks.contains("microphone") && tracks.contains("\"height\":720"),
        "{tracks}"
    );
    let offer = bob.until("offer").await;
    assert!(
        offer["revision"].as_u64().unwrap() >= 2,
        "the outstanding one: {offer}"
    );
    let after = node.held(|held| held.session_by_name.clone());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    let wish = |held: &spillway_wire::dataplane::Session| {
        let found = held.subscriptions.iter().find(|s| s.track == camera);
        found.unwrap().wish.unwrap()
    };
    let session = format!("{participant}:s");
    assert_eq!(wish(&before[&session]), wish(&after[&session]));
    let closed = node.held(|held| held.calls.contains(&"close_session"));
    assert!(!closed, "nobody's media was touched");
    // Ann does not resume.
    assert_eq!(bob.event("participant_left").await["reason"], "timeout");
    let session = format!("{}:p", ann.participant());
    node.until(|held| held.closed.contains(&session)).await;
}

#[tokio::test]
async fn who_joins_while_the_data_plane_is_away_is_served_when_it_comes() {
    let server = TestServer::start(&[]).await;
    let mut ann = server.join("r", "ann").await;
    let early = ann
        .ask(json!({"type": "offer", "sdp": "v=0", "tracks": []}))
        .await;
    assert_eq!(early["code"], "media_unavailable");
    let node = FakeNode::start(&server.socket());
    let mut bob = server.join("r", "bob").await;
    server.running.connected().await;
    bob.publish().await;
    ann.until("offer").await;
    let session = format!("{}:s", ann.participant());
    node.until(|held| held.session_by_name.contains_key(&session))
        .await;
}
