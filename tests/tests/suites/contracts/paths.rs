//! Paths under which a proxy serves the server, kept or removed by the proxy, and origins of pages
//! that may use demo tokens.

use serde_json::{Value, json};

use super::fixtures::{Rows, TestServers};
use super::signaling_client::{SignalingSocket, claims, get, sign};

pub(super) async fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let url = &servers.server.url;
    for prefix in ["", "/calls"] {
        for (path, wanted) in [
            ("/", 200),
            ("/?room=x", 200),
            ("/app.js", 200),
            ("/spillway.js", 200),
            ("/healthz", 200),
            ("/v1/admin/rooms", 401),
            ("/v1/demo/token?room=r&identity=ann", 200),
            ("/nothing", 404),
        ] {
            let path = format!("{prefix}{path}");
            let (status, _, _) = get(&format!("{url}{path}"), &[])?;
            rows.same("served under its path", &path, (status, wanted));
        }
        let path = format!("{prefix}/v1/signal");
        let mut talk = SignalingSocket::open(url, &path, None).await?;
        let join = json!({"type": "join", "id": 1, "token": sign(&claims("paths", "ann"))?});
        let joined = talk.request(&join.to_string()).await?;
        rows.same(
            "served under its path",
            &path,
            (joined["type"].as_str(), Some("joined")),
        );
    }
    let (status, _, _) = get(&format!("{url}/calls?room=x"), &[])?;
    rows.same("served under its path", "/calls", (status, 308));
    for file in [
        "/",
        "/app.js",
        "/app/call.js",
        "/app/token.js",
        "/app/join.js",
        "/style.css",
    ] {
        let (_, _, text) = get(&format!("{url}/calls{file}"), &[])?;
        let absolute = ["=\"/", "from '/", "fetch(`/", "fetch('/", "url(/", "'/?"];
        let found = absolute
            .into_iter()
            .find(|absolute| text.contains(absolute));
        rows.same("relative URLs", file, (found, None));
    }
    let (_, _, text) = get(
        &format!("{url}/calls/v1/demo/token?room=r&identity=ann"),
        &[],
    )?;
    let demo: Value = serde_json::from_str(&text)?;
    let demo = demo["token"].as_str().unwrap_or_default().to_owned();
    let signed = sign(&claims("r", "bob"))?;
    for (origin, token, wanted) in [
        (None, &demo, "joined"),
        (Some("http://localhost:3000"), &demo, "joined"),
        (Some(&**url), &demo, "joined"),
        (Some("https://evil.example"), &demo, "error"),
        (Some("null"), &demo, "error"),
        (Some("https://evil.example"), &signed, "joined"),
    ] {
        let mut talk = SignalingSocket::open(url, "/v1/signal", origin).await?;
        let join = json!({"type": "join", "id": 1, "token": token});
        let said = talk.request(&join.to_string()).await?;
        let row = origin.unwrap_or("no origin");
        rows.same(
            "demo tokens and pages of others",
            row,
            (said["type"].as_str(), Some(wanted)),
        );
    }
    let (status, _, _) = get(
        &format!("{url}/v1/demo/token?room=r&identity=a"),
        &[("origin", "https://evil.example")],
    )?;
    rows.same(
        "demo tokens and pages of others",
        "asks for one",
        (status, 403),
    );
    Ok(())
}
