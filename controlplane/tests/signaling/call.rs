//! Join, publish, subscribe, talk, leave.

use serde_json::{Value, json};
use spillway_wire::dataplane as wire;

use crate::client::{TestServer, token};
use crate::fake::FakeNode;

#[tokio::test]
async fn two_people_publish_and_are_offered_each_other() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    let others = &bob.joined["participants"];
    assert_eq!(others[0]["identity"], "ann");
    assert_eq!(others[0]["name"], "name of ann");
    let tracks = others[0]["tracks"].as_array().unwrap();
    let of = |id: &str| tracks.iter().find(|t| t["track"] == id).unwrap();
    assert_eq!(of(&camera)["layers"][1]["height"], 720);
    assert_eq!(of(&microphone)["muted"], true);
    let offer = bob.until("offer").await;
    assert_eq!(
        offer["tracks"].as_array().unwrap().len(),
        2,
        "both in one batch"
    );
    let answer = json!({"type": "answer", "revision": offer["revision"], "sdp": "v=0"});
    assert_eq!(bob.ask(answer.clone()).await["type"], "ok");
    assert_eq!(bob.ask(answer).await["code"], "stale_answer");
    assert_eq!(
        ann.event("participant_joined").await["participant"]["identity"],
        "bob"
    );
    let [theirs, _] = bob.publish().await;
    assert_eq!(
        ann.event("track_published").await["participant"],
        bob.joined["participant"]
    );
    loop {
        let offered = ann.until("offer").await["tracks"].to_string();
        assert!(
            !offered.contains(&camera),
            "nobody is offered what is his own"
        );
        if offered.contains(&theirs) {
            break;
        }
    }
    node.until(|held| held.session_by_name.len() == 4).await;
}

#[tokio::test]
async fn a_later_offer_keeps_tracks_it_names_and_unpublishes_the_others() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    let kept = json!({"type": "offer", "sdp": "again", "tracks": [
        {"mid": "5", "kind": "audio", "source": "microphone", "track": microphone},
    ]});
    let answer = ann.ask(kept).await;
    assert_eq!(answer["tracks"], json!([{"mid": "5", "track": microphone}]));
    assert_eq!(bob.event("track_unpublished").await["track"], json!(camera));
    let muted = bob.event("track_muted").await;
    assert_eq!(
        (&muted["track"], &muted["muted"]),
        (&json!(microphone), &json!(false))
    );
    let foreign = json!({"type": "offer", "sdp": "x", "tracks": [
        {"mid": "0", "kind": "audio", "source": "microphone", "track": "TR_0123456789abcdef"},
    ]});
    assert_eq!(ann.ask(foreign).await["code"], "unknown_track");
    let tracks = node.held(|held| {
        let session = held
            .session_by_name
            .get(&format!("{}:p", ann.participant()));
        session.unwrap().tracks.clone()
    });
    assert_eq!((tracks.len(), tracks[0].mid.as_str()), (1, "5"));
    assert_eq!(tracks[0].kind(), wire::Kind::Audio);
}

#[tokio::test]
async fn what_was_not_negotiated_is_announced_to_nobody() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let layers = json!([{"rid": "lost-q", "height": 180}, {"rid": "f_1", "height": 720}]);
    let offer = json!({"type": "offer", "sdp": "v=0", "tracks": [
        {"mid": "ghost", "kind": "video", "source": "screen"},
        {"mid": "1", "kind": "video", "source": "camera", "layers": layers},
    ]});
    let answer = ann.ask(offer).await;
    let tracks = answer["tracks"].as_array().unwrap();
    assert_eq!((tracks.len(), &tracks[0]["mid"]), (1, &json!("1")));
    let published = bob.event("track_published").await;
    assert_eq!(published["track"]["source"], "camera");
    assert_eq!(
        published["track"]["layers"],
        json!([{"rid": "f_1", "height": 720}])
    );
    // What comes next is not the other track.
    let again = json!({"type": "offer", "sdp": "v=0", "tracks": [
        {"mid": "ghost-1", "kind": "video", "source": "camera", "track": tracks[0]["track"]},
    ]});
    assert_eq!(ann.ask(again).await["tracks"], json!([]));
    let gone = bob.event("track_unpublished").await;
    assert_eq!(gone["track"], tracks[0]["track"]);
}

#[tokio::test]
async fn a_subscription_that_the_client_rejected_ends_until_it_is_asked_for() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, _] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let session = format!("{}:s", bob.participant());
    node.send_event(wire::event::Event::Layer(wire::LayerChanged {
        session: session.clone(),
        track: camera.clone(),
        rid: String::new(),
        active: false,
        reason: "rejected".to_owned(),
    }));
    assert_eq!(
        bob.until("layer").await,
        json!({"type": "layer", "track": camera, "rid": "", "active": false, "reason": "rejected"})
    );
    let has = |held: &crate::fake::Held| {
        let subscriptions = &held.session_by_name[&session].subscriptions;
        subscriptions.iter().any(|sub| sub.track == camera)
    };
    node.until(|held| !has(held)).await;
    let again = json!({"type": "subscribe", "tracks": [{"track": camera}]});
    assert_eq!(bob.ask(again).await["type"], "ok");
    node.until(has).await;
}

#[tokio::test]
async fn wishes_reach_the_data_plane_and_an_unsubscribed_track_stays_out() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let wish = json!({"type": "subscribe", "tracks": [
        {"track": camera, "max_height": 360, "priority": 9, "paused": true},
    ]});
    assert_eq!(bob.ask(wish).await["type"], "ok");
    let drop = json!({"type": "unsubscribe", "tracks": [microphone]});
    assert_eq!(bob.ask(drop).await["type"], "ok");
    let session = format!("{}:s", bob.participant());
    loop {
        let offer = bob.until("offer").await;
        if offer["tracks"].as_array().unwrap().len() == 1 {
            break;
        }
    }
    let subscriptions = node.held(|held| held.session_by_name[&session].subscriptions.clone());
    let wish = wire::Wish {
        paused: true,
        max_height: 360,
        priority: 9,
    };
    assert_eq!((subscriptions.len(), &subscriptions[0].track), (1, &camera));
    assert_eq!(subscriptions[0].wish, Some(wish));
    let own = json!({"type": "subscribe", "tracks": [{"track": camera}]});
    assert_eq!(ann.ask(own).await["code"], "unknown_track");
    ann.publish().await;
    bob.ask(json!({"type": "ping"})).await;
    let after = node.held(|held| held.session_by_name[&session].subscriptions.len());
    assert_eq!(after, 1, "what was declined does not come back by itself");
}

#[tokio::test]
async fn messages_reach_everybody_or_those_they_are_meant_for() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let mut eve = server.join("r", "eve").await;
    let open = json!({"type": "message", "topic": "chat", "payload": {"text": "hi"}});
    assert_eq!(ann.ask(open).await["type"], "ok");
    let secret = json!({"type": "message", "topic": "t", "payload": 7, "to": ["bob"]});
    assert_eq!(ann.ask(secret).await["type"], "ok");
    let nobody = json!({"type": "message", "topic": "t", "payload": 7, "to": ["mallory"]});
    let refused = ann.ask(nobody).await;
    assert_eq!(refused["code"], "unknown_participant");
    assert!(refused["message"].as_str().unwrap().contains("'mallory'"));
    assert_eq!(bob.event("message").await["payload"], json!({"text": "hi"}));
    assert_eq!(bob.event("message").await["payload"], 7);
    assert_eq!(eve.event("message").await["identity"], "ann");
    eve.event("private").await;
}

#[tokio::test]
async fn ephemeral_messages_reach_those_who_are_there_and_are_no_part_of_the_history() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let mut eve = server.join("r", "eve").await;
    let say = |payload: u32, to: Value| {
        let mut say =
            json!({"type": "message", "topic": "t", "payload": payload, "ephemeral": true});
        if !to.is_null() {
            say["to"] = to;
        }
        say
    };
    assert_eq!(ann.ask(say(1, Value::Null)).await["type"], "ok");
    assert_eq!(ann.ask(say(2, json!(["bob"]))).await["type"], "ok");
    let refused = ann.ask(say(3, json!(["mallory"]))).await;
    assert_eq!(refused["code"], "unknown_participant");
    assert_eq!(ann.ask(say(4, Value::Null)).await["type"], "ok");
    for (client, expected) in [(&mut bob, &[1, 2, 4][..]), (&mut eve, &[1, 4])] {
        for payload in expected {
            let told = client.until("message").await;
            assert_eq!(
                (&told["payload"], &told["identity"]),
                (&json!(payload), &json!("ann"))
            );
        }
    }
    // A participant that resumes does not get ephemeral messages.
    let resume = bob.resume();
    drop(bob);
    let last = json!({"type": "message", "topic": "t", "payload": 5});
    assert_eq!(ann.ask(last).await["type"], "ok");
    let mut back = server.connect().await;
    back.join(json!({"token": token("r", "bob", |_| ()), "resume": resume}))
        .await;
    assert_eq!(back.joined["mode"], "recovered");
    let next = back.until("event").await;
    assert_eq!(next["event"]["payload"], 5);
}

#[tokio::test]
async fn mute_is_told_to_the_others_and_to_the_data_plane() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, _] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    let mute = json!({"type": "mute", "track": camera, "muted": true});
    assert_eq!(ann.ask(mute.clone()).await["type"], "ok");
    assert_eq!(bob.event("track_muted").await["muted"], true);
    assert_eq!(bob.ask(mute).await["code"], "unknown_track");
    // The next call of the same session comes after the annotation.
    let candidate = json!({"type": "candidate", "pc": "publish", "candidate": "candidate:1"});
    assert_eq!(ann.ask(candidate).await["type"], "ok");
    let session = format!("{}:p", ann.participant());
    let muted = node.held(|held| {
        let tracks = &held.session_by_name[&session].tracks;
        tracks
            .iter()
            .find(|track| track.track == camera)
            .unwrap()
            .muted
    });
    assert!(muted);
}

#[tokio::test]
async fn who_leaves_is_gone_for_everybody_and_on_the_data_plane() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    assert_eq!(ann.ask(json!({"type": "leave"})).await["type"], "ok");
    assert_eq!(ann.closed().await, Some(1000));
    let left = bob.event("participant_left").await;
    assert_eq!(
        (&left["identity"], &left["reason"]),
        (&json!("ann"), &json!("left"))
    );
    let offer = bob.until("offer").await;
    assert_eq!(
        offer["tracks"],
        json!([]),
        "her tracks are not offered any more"
    );
    let sessions = ["p", "s"].map(|half| format!("{}:{half}", ann.participant()));
    node.until(|held| sessions.iter().all(|session| held.closed.contains(session)))
        .await;
}

#[tokio::test]
async fn the_same_identity_replaces_itself_and_hidden_ones_are_not_listed() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut bob = server.join("r", "bob").await;
    let mut first = server.join("r", "ann").await;
    let second = server.join("r", "ann").await;
    assert_eq!(first.closed().await, Some(4409));
    assert_ne!(first.participant(), second.participant());
    assert_eq!(bob.event("participant_left").await["reason"], "replaced");
    let mut ghost = server.connect().await;
    let hidden = token("r", "ghost", |claims| claims.video.hidden = true);
    ghost.join(json!({"token": hidden})).await;
    assert_eq!(ghost.joined["participants"].as_array().unwrap().len(), 2);
    let offer = json!({"type": "offer", "sdp": "", "tracks": []});
    assert_eq!(ghost.ask(offer).await["code"], "not_permitted");
    let eve = server.join("r", "eve").await;
    assert_eq!(eve.joined["participants"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn speakers_and_layers_come_from_the_data_plane() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, microphone] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let levels = |dbov| {
        wire::event::Event::Levels(wire::Levels {
            levels: vec![wire::TrackLevel {
                track: microphone.clone(),
                dbov,
            }],
            shard: 0,
        })
    };
    for _ in 0..3 {
        node.send_event(levels(20));
    }
    let speakers = bob.until("speakers").await;
    assert_eq!(
        speakers["speakers"][0]["participant"],
        ann.joined["participant"]
    );
    node.send_event(wire::event::Event::Layer(wire::LayerChanged {
        reason: String::new(),
        session: format!("{}:s", bob.participant()),
        track: camera.clone(),
        rid: "f".to_owned(),
        active: true,
    }));
    let layer = bob.until("layer").await;
    assert_eq!(
        layer,
        json!({"type": "layer", "track": camera, "rid": "f", "active": true})
    );
}
