//! JSON (RFC 8259): valid messages are accepted, invalid ones are answered with their `id`, and the
//! socket stays open.

use super::fixtures::{Rows, TestServers};
use super::signaling_client::{SignalingSocket, claims, sign};

/// Kind, a message with the id 7, and the type of the reply.
const READ: &[(&str, &str, &str)] = &[
    (
        "half an emoji",
        r#"{"type":"message","id":7,"topic":"t","payload":{"text":"hi \ud83d"}}"#,
        "ok",
    ),
    (
        "half an emoji",
        r#"{"type":"message","id":7,"topic":"\udfff","payload":1}"#,
        "ok",
    ),
    (
        "half an emoji",
        r#"{"type":"message","id":7,"topic":"t","payload":{"\ud83d":"\ude00\ud83d"}}"#,
        "ok",
    ),
    (
        "a whole one",
        r#"{"type":"message","id":7,"topic":"t","payload":"\ud83d\ude00"}"#,
        "ok",
    ),
    (
        "numbers of any notation",
        r#"{"type":"ping","id":7.0}"#,
        "pong",
    ),
    (
        "numbers of any notation",
        r#"{"type":"ping","id":0.7e1}"#,
        "pong",
    ),
    (
        "numbers of any notation",
        r#"{"type":"message","id":7,"topic":"t","payload":123456789012345678901234567890}"#,
        "ok",
    ),
    (
        "names that come twice",
        r#"{"type":"ping","id":8,"id":7}"#,
        "pong",
    ),
    (
        "names that are escaped",
        r#"{"\u0074ype":"ping","\u0069d":7}"#,
        "pong",
    ),
    (
        "a byte order mark",
        "\u{feff}{\"type\":\"ping\",\"id\":7}",
        "pong",
    ),
    (
        "white space",
        " \r\n\t{ \"type\" : \"ping\" , \"id\" : 7 } ",
        "pong",
    ),
];

/// Messages with the id 7.
const UNREADABLE: &[&str] = &[
    r#"{"type":"ping","id":7,}"#,
    r#"{"type":"ping","id":7"x":1}"#,
    r#"{"id":7,"type":"dance"}"#,
    r#"{"id":7,"type":5}"#,
    r#"{"id":7}"#,
    r#"{"id":7,"type":"message","topic":"t","payload":1e400}"#,
    r#"{"id":7,"type":"message","topic":"t","payload":NaN}"#,
    r#"{"id":7,"type":"message","topic":"t","payload":"a"#,
    r#"{"id":7,"type":"message","topic":"t","payload":'a'}"#,
    r#"{"payload":{"id":8},"id":7,"type":}"#,
    r#"{"payload":"\"id\":8,","id":7,"type":}"#,
    r#"{"id":7,"type":"mute","track":"x","muted":true}"#,
    r#"{"id":7,"type":"ping"} {"id":8}"#,
];

pub(super) async fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let url = &servers.server.url;
    let (mut talk, joined) = SignalingSocket::join(url, &sign(&claims("texts", "ann"))?).await?;
    rows.same(
        "half an emoji",
        "join",
        (joined["type"].as_str(), Some("joined")),
    );
    for (kind, text, reply) in READ.iter().copied() {
        let said = talk.request(text).await?;
        rows.same(
            kind,
            text,
            (
                (said["type"].as_str(), said["id"].as_u64()),
                (Some(reply), Some(7)),
            ),
        );
    }
    let deep = format!(
        r#"{{"id":7,"type":"message","topic":"t","payload":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let open = format!(r#"{{"type":"message","payload":{},"id":7"#, "[".repeat(500));
    for text in [&*deep].into_iter().chain(UNREADABLE.iter().copied()) {
        let said = talk.request(text).await?;
        let found = (said["code"].as_str(), said["id"].as_u64());
        rows.same(
            "what cannot be read keeps its id",
            text,
            (found, (Some("bad_message"), Some(7))),
        );
    }
    let said = talk.request(&open).await?;
    rows.same(
        "what has no readable id",
        "cut off",
        (said["id"].as_u64(), None),
    );
    // The rate of messages stays below the limit of 50 per second.
    for _ in 0..40 {
        talk.request("nonsense").await?;
    }
    let said = talk.request(r#"{"type":"ping","id":9}"#).await?;
    rows.same(
        "mistakes end no call",
        "40 of them",
        (said["type"].as_str(), Some("pong")),
    );
    Ok(())
}
