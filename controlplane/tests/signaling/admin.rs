//! The admin API: its answers and its authentication.

use serde_json::Value;

use crate::client::{TestServer, metrics};
use crate::fake::FakeNode;

fn get(url: String, token: Option<&'static str>) -> impl Future<Output = (u16, String, Value)> {
    let ask = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = agent.get(&url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().unwrap();
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (kind, policy) = (header("content-type"), header("content-security-policy"));
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (
            status,
            format!("{kind} {policy}"),
            serde_json::from_str(&text).unwrap_or_default(),
        )
    };
    async { tokio::task::spawn_blocking(ask).await.unwrap() }
}

#[tokio::test]
async fn metrics_name_no_rooms_and_no_people() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut speaker = server.join("board-meeting", "zoe@example.com").await;
    speaker.publish().await;
    let text = metrics(&server).await;
    assert!(text.contains("spillway_participants"), "{text}");
    for name in ["board-meeting", "zoe"] {
        assert!(!text.contains(name), "{name} is in the metrics");
    }
}

#[tokio::test]
async fn the_admin_api_shows_rooms_sessions_and_shards_to_the_token_alone() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut ann = server.join("r", "ann").await;
    let [camera, _] = ann.publish().await;
    let mut bob = server.join("r", "bob").await;
    bob.until("offer").await;
    let rooms = server.admin("/v1/admin/rooms").await;
    let room = &rooms["rooms"][0];
    assert_eq!(
        (&room["room"], &room["participant_count"]),
        (&"r".into(), &2.into())
    );
    assert!(room["participants"].to_string().contains(&camera));
    let shown = server.admin("/v1/admin/rooms/r").await;
    let people = shown["participants"].as_array().unwrap();
    let of = |identity: &str| people.iter().find(|p| p["identity"] == identity).unwrap();
    assert_eq!(of("ann")["publish"]["shard"], 0);
    assert_eq!(of("ann")["publish"]["connected"], true);
    assert_eq!(of("bob")["publish"], Value::Null);
    assert_eq!(
        of("bob")["subscribe"]["subscriptions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let nodes = server.admin("/v1/admin/nodes").await;
    assert_eq!(nodes["nodes"][0]["shards"][0]["packets_in"], 7);
    for token in [None, Some("wrong"), Some("admin-admin-admi")] {
        for path in ["rooms", "rooms/r", "nodes"] {
            let url = format!("{}/v1/admin/{path}", server.running.url);
            let (status, _, body) = get(url, token).await;
            assert_eq!((status, &body["code"]), (401, &"token_invalid".into()));
        }
    }
    let missing = format!("{}/v1/admin/rooms/none", server.running.url);
    let (status, _, body) = get(missing, Some("admin-admin-admin")).await;
    assert_eq!(status, 404);
    assert!(
        body["message"].as_str().unwrap().contains("room ls"),
        "{body}"
    );
}

#[tokio::test]
async fn readiness_tells_of_a_missing_data_plane_and_health_does_not() {
    let server = TestServer::start(&[]).await;
    let url = |path: &str| format!("{}{path}", server.running.url);
    let (status, _, body) = get(url("/readyz"), None).await;
    assert_eq!((status, &body["status"]), (503, &"degraded".into()));
    assert_eq!(get(url("/healthz"), None).await.0, 200);
    let _node = FakeNode::start(&server.socket());
    server.running.connected().await;
    assert_eq!(get(url("/readyz"), None).await.0, 200);
}

#[tokio::test]
async fn the_page_is_embedded_and_loads_nothing_from_elsewhere() {
    let server = TestServer::start(&[]).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/spillway.js", "text/javascript; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
    ] {
        let (status, headers, _) = get(format!("{}{path}", server.running.url), None).await;
        assert_eq!(status, 200, "{path}");
        assert!(headers.starts_with(kind), "{path}: {headers}");
        assert!(
            headers.contains("default-src 'none'; script-src 'self'"),
            "{headers}"
        );
    }
    let (status, _, body) = get(format!("{}/nothing", server.running.url), None).await;
    assert_eq!((status, &body["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn demo_tokens_open_rooms_and_wrong_names_are_explained() {
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let url = |query: &str| format!("{}/v1/demo/token?{query}", server.running.url);
    let (status, _, body) = get(url("room=r&identity=ann&name=Ann%20B"), None).await;
    assert_eq!(status, 200);
    let mut ann = server.connect().await;
    ann.join(serde_json::json!({"token": body["token"]})).await;
    assert_eq!(ann.joined["identity"], "ann");
    for (query, said) in [
        (
            "room=r&identity=a%07b",
            "identity has U+0007 at character 2",
        ),
        (
            "room=r&identity=%20a",
            "identity begins or ends with white space",
        ),
        ("room=%E2%80%8B&identity=a", "room has U+200B"),
        ("room=%FF&identity=a", "'%FF' in the query is not UTF-8"),
        ("room=&identity=a", "room is empty"),
        ("identity=a", "the query lacks room"),
    ] {
        let (status, _, body) = get(url(query), None).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &"bad_message".into()),
            "{query}"
        );
        assert!(body["message"].as_str().unwrap().contains(said), "{body}");
    }
}

/// Room names: six scripts, a name with special characters of paths and keys, and one that is
/// composed.
const NAMES: [(&str, &str); 8] = [
    ("Συμβούλιο", "Συμβούλιο"),
    ("Совет", "Совет"),
    ("会議", "会議"),
    ("اجتماع", "اجتماع"),
    ("ประชุม", "ประชุม"),
    ("परिषद", "परिषद"),
    ("a/b {c}?%2F#..|\\", "a/b {c}?%2F#..|\\"),
    ("Zoe\u{308}", "Zoë"),
];

#[tokio::test]
async fn rooms_of_every_script_are_rooms_of_their_own() {
    use spillway_controlplane::ids::RoomName;
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let mut clients = Vec::new();
    for (typed, name) in NAMES {
        let client = server.join(typed, "a+b@example.com").await;
        assert_eq!(client.joined["room"], name);
        assert_eq!(
            client.joined["participants"],
            serde_json::json!([]),
            "{name}: strangers meet"
        );
        clients.push(client);
    }
    for (typed, name) in NAMES {
        let room: RoomName = typed.parse().unwrap();
        let url = format!(
            "{}/v1/admin/rooms/{}",
            server.running.url,
            room.percent_encoded()
        );
        let (status, _, body) = get(url, Some("admin-admin-admin")).await;
        assert_eq!((status, &body["room"]), (200, &name.into()), "{body}");
    }
    // The error has our JSON form, not the router's.
    for (path, status) in [("%FF", 400), ("%07", 400), ("nobody", 404)] {
        let url = format!("{}/v1/admin/rooms/{path}", server.running.url);
        let (got, _, body) = get(url, Some("admin-admin-admin")).await;
        assert_eq!(got, status, "{body}");
        assert!(body["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn under_its_public_path_everything_is_as_at_the_root() {
    let server = TestServer::start(&["--public-path", "/calls"]).await;
    let _node = FakeNode::start(&server.socket());
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    for (path, wanted) in [
        ("/calls/", 200),
        ("/calls/?room=x", 200),
        ("/calls/spillway.js", 200),
        ("/calls/healthz", 200),
        ("/calls/v1/demo/token?room=r&identity=ann", 200),
        ("/calls/v1/admin/rooms", 401),
        ("/calls", 308),
        ("/calls/nothing", 404),
        ("/callsx/", 404),
        ("/", 200),
        ("/spillway.js", 200),
    ] {
        let (code, answer) = status(&server, &format!("GET {path} HTTP/1.1\r\n{close}")).await;
        assert_eq!(code, wanted, "{path}: {answer}");
    }
    let (_, page) = status(&server, &format!("GET /calls/ HTTP/1.1\r\n{close}")).await;
    for absolute in ["href=\"/", "src=\"/"] {
        assert!(!page.contains(absolute), "{absolute} leads out of the path");
    }
    let (_, moved) = status(&server, &format!("GET /calls?room=a HTTP/1.1\r\n{close}")).await;
    assert!(
        moved.to_lowercase().contains("location: /calls/?room=a"),
        "{moved}"
    );
    let url = format!(
        "{}/calls/v1/signal",
        server.running.url.replace("http", "ws")
    );
    tokio_tungstenite::connect_async(url).await.unwrap();
}

#[tokio::test]
async fn a_demo_token_is_of_no_use_to_the_page_of_another_site() {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let server = TestServer::start(&[]).await;
    let _node = FakeNode::start(&server.socket());
    let url = format!("{}/v1/demo/token?room=r&identity=ann", server.running.url);
    let (_, _, body) = get(url, None).await;
    let demo = body["token"].as_str().unwrap().to_owned();
    let signed = crate::client::token("r", "bob", |_| ());
    for (origin, token, answer) in [
        ("https://evil.example", &demo, "error"),
        ("null", &demo, "error"),
        ("http://localhost:3000", &demo, "joined"),
        ("https://app.example", &signed, "joined"),
    ] {
        let url = format!("{}/v1/signal", server.running.url.replace("http", "ws"));
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let join = serde_json::json!({"type": "join", "id": 1, "token": token}).to_string();
        futures_util::SinkExt::send(&mut socket, join.into())
            .await
            .unwrap();
        let said = loop {
            let next = futures_util::StreamExt::next(&mut socket).await;
            if let Message::Text(text) = next.unwrap().unwrap() {
                break serde_json::from_str::<Value>(&text).unwrap();
            }
        };
        assert_eq!(said["type"], answer, "{origin}: {said}");
        if answer == "error" {
            assert_eq!(said["code"], "not_permitted");
            assert!(
                said["message"].as_str().unwrap().contains("allowed-hosts"),
                "{said}"
            );
        }
    }
}

/// A request as it is, and the status it gets; 0 where the connection is closed without one.
async fn status(server: &TestServer, request: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(server.running.address)
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(15), reading).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or(0), answer)
}

#[tokio::test]
async fn while_there_are_demo_tokens_other_hosts_get_nothing() {
    let server = TestServer::start(&["--allowed-hosts", "lan.example"]).await;
    let token = "/v1/demo/token?room=r&identity=ann";
    let close = "Connection: close\r\n\r\n";
    for (request, wanted) in [
        (
            format!("GET {token} HTTP/1.1\r\nHost: LAN.example.:7880\r\n{close}"),
            200,
        ),
        (
            format!("GET {token} HTTP/1.1\r\nHost: evil.example\r\n{close}"),
            403,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{close}"),
            403,
        ),
        (
            format!("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n{close}"),
            403,
        ),
        (format!("GET {token} HTTP/1.0\r\n\r\n"), 403),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        (
            format!("GET http://evil.example{token} HTTP/1.1\r\nHost: localhost\r\n{close}"),
            403,
        ),
        (
            format!("GET {token} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{close}"),
            403,
        ),
        (
            format!(
                "GET {token} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n{close}"
            ),
            403,
        ),
        (
            format!(
                "GET {token} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://lan.example\r\n{close}"
            ),
            200,
        ),
    ] {
        let (code, answer) = status(&server, &request).await;
        assert_eq!(code, wanted, "{request}\n{answer}");
        assert!(
            wanted != 403
                || answer.contains("allowed-hosts")
                || answer.contains("more than one Host"),
            "{answer}"
        );
    }
    let upgrade = |host: &str| {
        format!(
            "GET /v1/signal HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    assert_eq!(status(&server, &upgrade("evil.example")).await.0, 403);
    // An application of another origin has a token of its own.
    assert_eq!(status(&server, &upgrade("localhost")).await.0, 101);
}

#[tokio::test]
async fn without_demo_tokens_every_host_is_answered_and_the_page_connects_to_its_own() {
    let server = TestServer::start_without_demo_tokens().await;
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let (code, answer) = status(&server, &get("rtc.example.com:8443")).await;
    assert_eq!(code, 200);
    let wanted = "connect-src 'self' ws://rtc.example.com:8443 wss://rtc.example.com:8443\r\n";
    assert!(answer.contains(wanted), "{answer}");
    let (code, answer) = status(&server, &get("a;script-src *")).await;
    assert!(
        code == 400 || answer.contains("connect-src 'self'\r\n"),
        "{answer}"
    );
}
