//! What operators see, and who is let in to see it.

use serde_json::Value;

use crate::client::Door;
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
async fn the_admin_api_shows_rooms_sessions_and_shards_to_the_token_alone() {
    let door = Door::open(&[]).await;
    let _node = FakeNode::start(&door.socket());
    let mut ann = door.join("r", "ann").await;
    let [camera, _] = ann.publish().await;
    let mut bob = door.join("r", "bob").await;
    bob.until("offer").await;
    let rooms = door.admin("/v1/admin/rooms").await;
    let room = &rooms["rooms"][0];
    assert_eq!(
        (&room["room"], &room["participant_count"]),
        (&"r".into(), &2.into())
    );
    assert!(room["participants"].to_string().contains(&camera));
    let shown = door.admin("/v1/admin/rooms/r").await;
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
    let nodes = door.admin("/v1/admin/nodes").await;
    assert_eq!(nodes["nodes"][0]["shards"][0]["packets_in"], 7);
    for token in [None, Some("wrong"), Some("admin-admin-admi")] {
        for path in ["rooms", "rooms/r", "nodes"] {
            let url = format!("{}/v1/admin/{path}", door.running.url);
            let (status, _, body) = get(url, token).await;
            assert_eq!((status, &body["code"]), (401, &"token_invalid".into()));
        }
    }
    let missing = format!("{}/v1/admin/rooms/none", door.running.url);
    let (status, _, body) = get(missing, Some("admin-admin-admin")).await;
    assert_eq!(status, 404);
    assert!(
        body["message"].as_str().unwrap().contains("room ls"),
        "{body}"
    );
}

#[tokio::test]
async fn readiness_tells_of_a_missing_data_plane_and_health_does_not() {
    let door = Door::open(&[]).await;
    let url = |path: &str| format!("{}{path}", door.running.url);
    let (status, _, body) = get(url("/readyz"), None).await;
    assert_eq!((status, &body["status"]), (503, &"degraded".into()));
    assert_eq!(get(url("/healthz"), None).await.0, 200);
    let _node = FakeNode::start(&door.socket());
    door.running.connected().await;
    assert_eq!(get(url("/readyz"), None).await.0, 200);
}

#[tokio::test]
async fn the_page_is_embedded_and_loads_nothing_from_elsewhere() {
    let door = Door::open(&[]).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/spillway.js", "text/javascript; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
    ] {
        let (status, headers, _) = get(format!("{}{path}", door.running.url), None).await;
        assert_eq!(status, 200, "{path}");
        assert!(headers.starts_with(kind), "{path}: {headers}");
        assert!(
            headers.contains("default-src 'none'; script-src 'self'"),
            "{headers}"
        );
    }
    let (status, _, body) = get(format!("{}/nothing", door.running.url), None).await;
    assert_eq!((status, &body["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn demo_tokens_open_rooms_and_wrong_names_are_explained() {
    let door = Door::open(&[]).await;
    let _node = FakeNode::start(&door.socket());
    let url = |query: &str| format!("{}/v1/demo/token?{query}", door.running.url);
    let (status, _, body) = get(url("room=r&identity=ann&name=Ann%20B"), None).await;
    assert_eq!(status, 200);
    let mut ann = door.connect().await;
    ann.join(serde_json::json!({"token": body["token"]})).await;
    assert_eq!(ann.joined["identity"], "ann");
    let (status, _, body) = get(url("room=r&identity=a%20b"), None).await;
    assert_eq!(status, 400);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("identity contains ' '"),
        "{body}"
    );
}
