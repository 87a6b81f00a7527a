//! A client that checks every message of the server against the published schema.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use spillway_controlplane::auth::{Claims, Keys, VideoGrant};
use spillway_controlplane::clock;
use spillway_controlplane::config::{Config, ControlAddress, Role, SETTINGS};
use spillway_controlplane::serve::{self, Running};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const SECRET: &str = "0123456789abcdef0123";

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| schema("ServerMessage"));

/// A validator for one definition in docs/protocol.schema.json.
pub(crate) fn schema(definition: &str) -> jsonschema::Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.schema.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    schema["$ref"] = json!(format!("#/$defs/{definition}"));
    jsonschema::validator_for(&schema).unwrap()
}

/// A control plane of its own, and the directory with the socket of its simulated data plane.
pub(crate) struct TestServer {
    pub(crate) running: Running,
    pub(crate) dir: tempfile::TempDir,
    runtime: Option<Runtime>,
}

impl TestServer {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, args).await
    }

    pub(crate) async fn start_without_demo_tokens() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_with(dir, &[], "false").await
    }

    pub(crate) async fn start_in(dir: tempfile::TempDir, args: &[&str]) -> Self {
        Self::start_with(dir, args, "true").await
    }

    async fn start_with(dir: tempfile::TempDir, args: &[&str], demo_tokens: &str) -> Self {
        let keys = format!("K:{SECRET}");
        let socket = dir.path().join("node.sock");
        let fixed = [
            "x",
            "--listen",
            "127.0.0.1:0",
            "--keys",
            &keys,
            "--admin-token",
            "admin-admin-admin",
            "--demo-tokens",
            demo_tokens,
        ];
        let command = spillway_settings::command(clap::Command::new("x"), SETTINGS);
        let matches = command.get_matches_from([&fixed[..], args].concat());
        let config = Config::gather(&matches, Role::Up).unwrap();
        let runtime = own_runtime();
        let address = ControlAddress::Unix(socket);
        let started = runtime.spawn(async move { serve::start(&config, address).await });
        Self {
            running: started.await.unwrap().unwrap(),
            dir,
            runtime: Some(runtime),
        }
    }

    /// Ends everything at once, as SIGKILL would. Returns the state directory that the next process
    /// finds.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        dir
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("node.sock")
    }

    pub(crate) async fn connect(&self) -> Client {
        let url = format!("{}/v1/signal", self.running.url.replace("http", "ws"));
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client {
            socket,
            joined: Value::Null,
            offset: 0,
            next_id: 1,
        }
    }

    /// A client that has joined `room` as `identity`.
    pub(crate) async fn join(&self, room: &str, identity: &str) -> Client {
        let mut client = self.connect().await;
        client
            .join(json!({"token": token(room, identity, |_| ())}))
            .await;
        assert_eq!(client.joined["mode"], "new", "{}", client.joined);
        client
    }

    pub(crate) async fn admin(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.running.url);
        tokio::task::spawn_blocking(move || {
            let call = ureq::get(&url).header("authorization", "Bearer admin-admin-admin");
            call.call().unwrap().body_mut().read_json().unwrap()
        })
        .await
        .unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn token(room: &str, identity: &str, change: impl Fn(&mut Claims)) -> String {
    signed_with(SECRET, room, identity, change)
}

pub(crate) fn signed_with(
    secret: &str,
    room: &str,
    identity: &str,
    change: impl Fn(&mut Claims),
) -> String {
    let keys = Keys::new(vec![format!("K:{secret}").parse().unwrap()]).unwrap();
    let mut claims = Claims {
        iss: String::new(),
        sub: identity.to_owned(),
        name: format!("name of {identity}"),
        nbf: None,
        exp: clock::unix_seconds() + 600,
        video: VideoGrant {
            room: room.to_owned(),
            room_join: true,
            ..VideoGrant::default()
        },
    };
    change(&mut claims);
    keys.sign(claims)
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) joined: Value,
    pub(crate) offset: u64,
    next_id: u64,
}

impl Client {
    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next message, validated. Panics if the socket closes.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_or_close().await {
            Ok(message) => message,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The next message, validated, or the close code.
    pub(crate) async fn next_or_close(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let received = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match received.expect("the server says something") {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if let Err(error) = SCHEMA.validate(&message) {
                        panic!("{message} is not in the schema: {error}");
                    }
                    if message["type"] == "event" {
                        let offset = message["offset"].as_u64().unwrap();
                        assert_eq!(offset, self.offset + 1, "no gap: {message}");
                        self.offset = offset;
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads to the close frame; returns its code.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next_or_close().await {
                return code;
            }
        }
    }

    /// Skips messages until one of this type.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Skips messages until a room event of this kind.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        loop {
            let message = self.until("event").await;
            if message["event"]["kind"] == kind {
                return message["event"].clone();
            }
        }
    }

    /// Sends a request with a new id; returns its reply.
    pub(crate) async fn ask(&mut self, mut message: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        message["id"] = json!(id);
        self.send(&message).await;
        loop {
            let reply = self.next().await;
            if reply["id"] == json!(id) {
                return reply;
            }
        }
    }

    /// Sends `join` with these fields; returns the reply.
    pub(crate) async fn join(&mut self, mut fields: Value) -> Value {
        fields["type"] = json!("join");
        let reply = self.ask(fields).await;
        if reply["type"] == "joined" {
            self.joined = reply.clone();
            self.offset = reply["offset"].as_u64().unwrap();
        }
        reply
    }

    pub(crate) fn resume(&self) -> Value {
        json!({
            "participant": self.joined["participant"],
            "epoch": self.joined["epoch"],
            "offset": self.offset,
            "key": self.joined["resume_key"],
        })
    }

    /// Publishes a camera and a microphone; returns the track ids in that order.
    pub(crate) async fn publish(&mut self) -> [String; 2] {
        let answer = self.ask(json!({"type": "offer", "sdp": "v=0", "tracks": [
            {"mid": "0", "kind": "video", "source": "camera",
             "layers": [{"rid": "q", "height": 180}, {"rid": "f", "height": 720}]},
            {"mid": "1", "kind": "audio", "source": "microphone", "muted": true},
        ]}));
        let answer = answer.await;
        assert_eq!(answer["sdp"], "answer to v=0", "{answer}");
        let of = |mid: &str| {
            let mut tracks = answer["tracks"].as_array().unwrap().iter();
            let found = tracks.find(|track| track["mid"] == mid).unwrap();
            found["track"].as_str().unwrap().to_owned()
        };
        [of("0"), of("1")]
    }

    pub(crate) fn participant(&self) -> &str {
        self.joined["participant"].as_str().unwrap()
    }
}

pub(crate) async fn metrics(server: &TestServer) -> String {
    let url = format!("{}/metrics", server.running.url);
    let get = move || {
        // A server that is short of places may hang up.
        let answer = ureq::get(&url).call();
        answer.map_or_else(
            |error| error.to_string(),
            |mut answer| answer.body_mut().read_to_string().unwrap(),
        )
    };
    tokio::task::spawn_blocking(get).await.unwrap()
}

/// Waits until the metrics contain `wanted`.
pub(crate) async fn until_metric(server: &TestServer, wanted: &str) {
    let start = std::time::Instant::now();
    loop {
        let shown = metrics(server).await;
        if shown.contains(wanted) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{wanted} is not in {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A runtime whose tasks end with it, like the threads of a process.
pub(crate) fn own_runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}
