//! Bad input gets a named error, and other participants lose nothing.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{PATIENCE, TestServer, metrics, signed_with, token};
use crate::fake::FakeNode;

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_by_name() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    for (token, code) in [
        ("x".to_owned(), "token_invalid"),
        (
            signed_with("forged-forged-forged", "r", "ann", |_| ()),
            "token_invalid",
        ),
        (
            token("r", "ann", |claims| claims.exp = 1_000),
            "token_expired",
        ),
        (token("", "ann", |_| ()), "token_invalid"),
        (
            token("r", "ann", |claims| claims.video.room_join = false),
            "not_permitted",
        ),
    ] {
        let mut client = server.connect().await;
        let refused = client.join(json!({"token": token})).await;
        assert_eq!(refused["code"], code, "{refused}");
        assert_eq!(client.closed().await, Some(4401));
    }
}

#[tokio::test]
async fn what_comes_before_join_is_refused_and_closed() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    for (text, code) in [
        (r#"{"type":"offer","sdp":"","tracks":[]}"#, "not_joined"),
        (r#"{"type":"leave"}"#, "not_joined"),
        (r#"{"type":"ice_servers"}"#, "not_joined"),
        ("nonsense", "bad_message"),
    ] {
        let mut client = server.connect().await;
        client.send_text(text).await;
        assert_eq!(client.next().await["code"], code);
        assert_eq!(client.closed().await, Some(4400));
    }
}

#[tokio::test]
async fn before_join_a_message_is_short_and_little_is_read() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut bob = server.join("r", "bob").await;
    let track = r#"{"mid":"0","kind":"audio","source":"other"},"#;
    // A message below the limit before `join`, and one above it.
    for tracks in [500, 12_000] {
        let mut client = server.connect().await;
        let tracks = track.repeat(tracks);
        let text = format!(r#"{{"type":"offer","sdp":"","tracks":[{tracks}0]}}"#);
        let _ = client.socket.send(Message::text(text)).await;
        let mut named = false;
        let code = loop {
            match client.next_or_close().await {
                Ok(message) if message["code"] == "too_large" => {
                    let said = message["message"].as_str().unwrap();
                    named = said.contains("the limit before join is 16384");
                }
                Ok(_) => {}
                Err(code) => break code,
            }
        };
        // Unread bytes reset the connection: the frame may be lost on the way.
        assert!(
            (named && code == Some(4413)) || tracks.len() > 65_536,
            "{named} {code:?}"
        );
    }
    // Pings are answered, but not for ever.
    let mut client = server.connect().await;
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
    // After `join`, long messages are accepted at once.
    let mut quick = server.connect().await;
    let join = json!({"type": "join", "token": token("r", "quick", |_| ())});
    quick.send(&join).await;
    let sdp = "x".repeat(200_000);
    quick
        .send(&json!({"type": "offer", "id": 7, "sdp": sdp, "tracks": []}))
        .await;
    assert_eq!(quick.until("answer").await["id"], 7);
    assert_eq!(bob.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn who_says_much_without_joining_is_told_how_much_is_read() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    for bytes in [16_000, 16_000, 16_000, 16_000] {
        client
            .send_text(&format!("{:bytes$}", r#"{"type":"ping"}"#))
            .await;
        assert_eq!(client.next().await["type"], "pong");
    }
    client
        .send_text(&format!("{:2000}", r#"{"type":"ping"}"#))
        .await;
    let refused = client.next().await;
    assert_eq!(refused["code"], "too_large");
    assert_eq!(refused["message"], "more than 65536 bytes before join");
    assert_eq!(client.closed().await, Some(4413));
}

#[tokio::test]
async fn wrong_messages_get_an_error_each_and_the_call_goes_on() {
    let server = TestServer::start(&[]).await;
    let node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let thousand = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(1_000);
    let track = |mid: usize| json!({"mid": mid.to_string(), "kind": "audio", "source": "other"});
    let many: Vec<_> = (0..17).map(track).collect();
    let unknown = "TR_0123456789abcdef";
    for (message, code) in [
        (json!({"type": "join", "token": "t"}), "already_joined"),
        (json!({"type": "dance"}), "bad_message"),
        (
            json!({"type": "offer", "sdp": thousand, "tracks": []}),
            "bad_sdp",
        ),
        (
            json!({"type": "offer", "sdp": "refuse me", "tracks": []}),
            "bad_sdp",
        ),
        (
            json!({"type": "offer", "sdp": "", "tracks": many}),
            "too_many_tracks",
        ),
        (
            json!({"type": "answer", "revision": 7, "sdp": ""}),
            "stale_answer",
        ),
        (
            json!({"type": "candidate", "pc": "publish", "candidate": "x"}),
            "bad_candidate",
        ),
        (
            json!({"type": "mute", "track": unknown, "muted": true}),
            "unknown_track",
        ),
        (
            json!({"type": "subscribe", "tracks": [{"track": unknown}]}),
            "unknown_track",
        ),
        (
            json!({"type": "unsubscribe", "tracks": [unknown]}),
            "unknown_track",
        ),
    ] {
        let refused = ann.ask(message.clone()).await;
        assert_eq!(refused["code"], code, "{message}: {refused}");
    }
    let calls = node.held(|held| held.calls.clone());
    assert!(
        !calls.contains(&"put_publish"),
        "none of it reached a session: {calls:?}"
    );
    ann.publish().await;
    assert_eq!(
        bob.event("track_published").await["participant"],
        ann.joined["participant"]
    );
}

#[tokio::test]
async fn mistakes_are_refused_and_a_flood_is_closed() {
    // Fast enough for all mistakes at once.
    let server = TestServer::start(&["--messages-per-second", "200"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let deep = "[".repeat(1_000);
    for id in 5..90_u32 {
        let text = match id % 3 {
            0 => format!(r#"{{"type":"message","id":{id},"topic":"t","payload":{deep}"#),
            1 => format!(r#"{{"type":"dance","id":{id}}}"#),
            _ => format!(r#"{{"type":"ping","id":{id},}}"#),
        };
        ann.send_text(&text).await;
    }
    for id in 5..90 {
        let refused = ann.until("error").await;
        assert_eq!(
            (&refused["code"], &refused["id"]),
            (&json!("bad_message"), &json!(id))
        );
    }
    // A binary frame is a mistake, too.
    let binary = Message::binary(br#"{"type":"ping","id":90}"#.to_vec());
    ann.socket.send(binary).await.unwrap();
    assert_eq!(ann.until("error").await["id"], 90);
    assert_eq!(ann.ask(json!({"type": "ping"})).await["type"], "pong");
    let server = TestServer::start(&["--messages-per-second", "5"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut fast = server.join("r", "ann").await;
    for _ in 0..60 {
        let _ = fast
            .socket
            .send(Message::text(r#"{"type":"ping","id":5}"#))
            .await;
    }
    let mut slowed = false;
    let code = loop {
        match fast.next_or_close().await {
            Ok(message) if message["code"] == "too_fast" => slowed |= message["id"] == 5,
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!((slowed, code), (true, Some(4429)));
    assert_eq!(bob.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn large_messages_are_refused_with_the_limit() {
    let server = TestServer::start(&["--max-message-bytes", "20000"]).await;
    let _node = FakeNode::start(&server.socket());
    for bytes in [20_100, 60_000, 3_000_000] {
        let mut client = server.join("r", "ann").await;
        let text = format!(r#"{{"type":"ping","{}":1}}"#, "x".repeat(bytes));
        let _ = client.socket.send(Message::text(text)).await;
        let mut named = false;
        let code = loop {
            match client.next_or_close().await {
                Ok(message) if message["code"] == "too_large" => {
                    let said = message["message"].as_str().unwrap();
                    named = said.contains("the limit is 20000");
                }
                Ok(_) => {}
                Err(code) => break code,
            }
        };
        // A message of more than twice the limit is not read to its end, and unread bytes reset the connection: the
        // frame may be lost, the limit not.
        assert!(
            (named && code == Some(4413)) || bytes > 40_000,
            "{bytes}: {named} {code:?}"
        );
    }
}

#[tokio::test]
async fn a_full_room_says_so() {
    let server = TestServer::start(&["--max-participants-per-room", "2"]).await;
    let _node = FakeNode::start(&server.socket());
    let _ann = server.join("r", "ann").await;
    let _bob = server.join("r", "bob").await;
    let mut eve = server.connect().await;
    let refused = eve.join(json!({"token": token("r", "eve", |_| ())})).await;
    assert_eq!(refused["code"], "too_many_participants");
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("the limit is 2"), "{said}");
    assert_eq!(eve.closed().await, Some(4400));
    let again = server.join("r", "bob").await;
    assert_eq!(
        again.joined["mode"], "new",
        "one who replaces himself needs no seat"
    );
    server.join("s", "eve").await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_nobody_waits_for_it() {
    let server = TestServer::start(&["--messages-per-second", "10000"]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let mut bob = server.join("r", "bob").await;
    let deaf = server.join("r", "deaf").await;
    let payload = "x".repeat(8_000);
    // More than its queue and every kernel buffer hold.
    for _ in 0..2_500 {
        let message = json!({"type": "message", "topic": "t", "payload": payload});
        assert_eq!(ann.ask(message).await["type"], "ok");
        bob.event("message").await;
    }
    let closed = r#"spillway_closes_total{code="4503"} 1"#;
    let since = Instant::now();
    // A slow host may take so long that it is the time for a write that ends it.
    while !metrics(&server).await.contains(closed) {
        assert!(since.elapsed() < 2 * PATIENCE, "{}", metrics(&server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let resume = deaf.resume();
    drop(deaf);
    let mut back = server.connect().await;
    back.join(json!({"token": token("r", "deaf", |_| ()), "resume": resume}))
        .await;
    // On a slow host its place may have been given up by now.
    let mode = back.joined["mode"].as_str().unwrap();
    assert!(
        ["resync", "new"].contains(&mode),
        "it may come back and is told the truth: {mode}"
    );
}

#[tokio::test]
async fn a_socket_without_join_and_a_head_without_end_do_not_stay() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = TestServer::start(&[]).await;
    let mut silent = server.connect().await;
    let address = server.running.url.trim_start_matches("http://").to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let mut head = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(15), slow.read_to_end(&mut head));
    let (code, ended) = tokio::join!(
        async {
            loop {
                match tokio::time::timeout(Duration::from_secs(15), silent.socket.next()).await {
                    Ok(Some(Ok(Message::Close(frame)))) => break frame.map(|f| u16::from(f.code)),
                    Ok(Some(Ok(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
        },
        ended
    );
    assert_eq!(code, Some(4408));
    assert!(ended.is_ok(), "the slow head is cut off");
}
