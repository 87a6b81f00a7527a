//! Sessions through the WebSocket API of a Janus gateway: one VideoRoom for each publisher.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::request::{Index, Request, RequestKind, ServerEvent};

/// A connection to Janus: one Janus session with a handle per participant.
pub struct ServerConnection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: u64,
    next_transaction: u64,
    /// Room and feed id of the first publisher; each further publisher has the next ids.
    first_id: usize,
    rooms: Vec<Index>,
    /// Publishers whose media Janus receives; before that their feeds do not exist.
    up: HashSet<Index>,
    /// Subscribers that wait for a publisher: (subscriber, publisher).
    early: Vec<(Index, Index)>,
    handles: HashMap<Index, u64>,
    index_by_handle: HashMap<u64, Index>,
    /// Next step after the answer of a transaction.
    waiting: HashMap<String, Step>,
    event_sender: mpsc::Sender<ServerEvent>,
}

/// Next step of a participant that joins a room.
enum Step {
    AttachPublisher {
        index: Index,
        offer: String,
    },
    AttachSubscriber {
        index: Index,
        publisher: Index,
    },
    CreateRoom {
        index: Index,
        offer: String,
    },
    /// A request without a next step; an error ends the participant.
    Request(Index),
}

/// Interval of keepalives: Janus drops a session that is silent for a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Range of the first room and feed ids, chosen at random because rooms outlive their sessions.
const FIRST_IDS: std::ops::Range<usize> = 1_000..1_000_000_000;
/// REMB limit that Janus sends to publishers, in bits per second: far above every test.
const MAX_BPS: u64 = 100_000_000;

impl ServerConnection {
    /// Connects and makes a session.
    pub async fn open(
        websocket: SocketAddr,
        event_sender: mpsc::Sender<ServerEvent>,
    ) -> anyhow::Result<Self> {
        let mut request = format!("ws://{websocket}/").into_client_request()?;
        let protocol = "janus-protocol"
            .parse()
            .context("a header of plain ASCII")?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let (socket, _) = connect_async(request)
            .await
            .with_context(|| format!("no Janus WebSocket at {websocket}"))?;
        let mut this = Self {
            socket,
            session: 0,
            next_transaction: 0,
            first_id: fastrand::usize(FIRST_IDS),
            rooms: Vec::new(),
            up: HashSet::new(),
            early: Vec::new(),
            handles: HashMap::new(),
            index_by_handle: HashMap::new(),
            waiting: HashMap::new(),
            event_sender,
        };
        this.send(json!({"janus": "create"})).await?;
        let message = this.socket.next().await.context("Janus hung up")??;
        let created: Value = serde_json::from_str(message.to_text()?)?;
        this.session = created["data"]["id"]
            .as_u64()
            .with_context(|| format!("no session was created: {created}"))?;
        Ok(this)
    }

    /// Runs until the last sender is dropped; then ends the session with all its handles.
    pub async fn run(
        mut self,
        mut request_receiver: UnboundedReceiver<Request>,
    ) -> anyhow::Result<()> {
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        loop {
            tokio::select! {
                request = request_receiver.recv() => match request {
                    Some(request) => self.start(request).await?,
                    None => return self.close_all().await,
                },
                message = self.socket.next() => {
                    match message.context("Janus hung up")?? {
                        Message::Text(text) => self.on_message(&serde_json::from_str(&text)?).await?,
                        Message::Close(frame) => bail!("Janus closed the socket: {frame:?}"),
                        _ => {} // pings are answered by the library
                    }
                }
                _ = keepalive.tick() => drop(self.send(json!({"janus": "keepalive"})).await?),
            }
        }
    }

    async fn close_all(mut self) -> anyhow::Result<()> {
        for index in std::mem::take(&mut self.rooms) {
            let body = json!({"request": "destroy", "room": self.first_id + index});
            self.request(index, body, None, Step::Request(index))
                .await?;
        }
        self.send(json!({"janus": "destroy"})).await?;
        Ok(self.socket.close(None).await?)
    }

    async fn start(&mut self, Request { index, kind }: Request) -> anyhow::Result<()> {
        match kind {
            RequestKind::Publish { offer, track } => {
                anyhow::ensure!(
                    !track.audio && track.layers.is_empty(),
                    "Janus is compared with video of one layer only"
                );
                let step = Step::AttachPublisher { index, offer };
                self.attach(step).await
            }
            RequestKind::Subscribe { watches, .. } => {
                let publisher = *watches.first().context("a subscriber watches somebody")?;
                anyhow::ensure!(watches.len() == 1, "Janus is compared with --watch 1 only");
                if !self.up.contains(&publisher) {
                    self.early.push((index, publisher));
                    return Ok(());
                }
                self.attach(Step::AttachSubscriber { index, publisher })
                    .await
            }
            RequestKind::Answer { sdp, .. } => {
                let jsep = json!({"type": "answer", "sdp": sdp});
                let body = json!({"request": "start"});
                self.request(index, body, Some(jsep), Step::Request(index))
                    .await
            }
        }
    }

    async fn attach(&mut self, step: Step) -> anyhow::Result<()> {
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        let transaction = self.send(attach).await?;
        self.waiting.insert(transaction, step);
        Ok(())
    }

    async fn on_message(&mut self, message: &Value) -> anyhow::Result<()> {
        let data = &message["plugindata"]["data"];
        if let Some(error) = data["error"]
            .as_str()
            .or(message["error"]["reason"].as_str())
        {
            return self.on_error(message, error);
        }
        if let Some(sender) = message["sender"].as_u64()
            && let Some(index) = self.index_by_handle.get(&sender).copied()
        {
            self.on_handle(index, message);
        }
        if message["janus"] == "webrtcup" {
            return self.on_up(message).await;
        }
        // "ack" means that the real answer follows.
        if message["janus"] == "ack" {
            return Ok(());
        }
        let step = message["transaction"]
            .as_str()
            .and_then(|t| self.waiting.remove(t));
        match step {
            Some(Step::AttachPublisher { index, offer }) => {
                self.attached(index, message)?;
                let body = json!({
                    "request": "create", "room": self.first_id + index, "publishers": 1, "bitrate": MAX_BPS,
                    "videocodec": "vp8", "audiocodec": "opus", "fir_freq": 0, "playoutdelay_ext": false,
                });
                let step = Step::CreateRoom { index, offer };
                self.request(index, body, None, step).await
            }
            Some(Step::CreateRoom { index, offer }) => {
                self.rooms.push(index);
                let body = json!({
                    "request": "joinandconfigure", "ptype": "publisher", "room": self.first_id + index,
                    "id": self.first_id + index, "bitrate": MAX_BPS,
                });
                let jsep = json!({"type": "offer", "sdp": offer});
                self.request(index, body, Some(jsep), Step::Request(index))
                    .await
            }
            Some(Step::AttachSubscriber { index, publisher }) => {
                self.attached(index, message)?;
                let body = json!({
                    "request": "join", "ptype": "subscriber", "room": self.first_id + publisher,
                    "streams": [{"feed": self.first_id + publisher}],
                });
                self.request(index, body, None, Step::Request(index)).await
            }
            Some(Step::Request(_)) | None => Ok(()),
        }
    }

    /// A publisher is ready: subscribes the subscribers that wait for it.
    async fn on_up(&mut self, message: &Value) -> anyhow::Result<()> {
        let handle = message["sender"].as_u64().unwrap_or(0);
        let Some(up) = self.index_by_handle.get(&handle).copied() else {
            return Ok(());
        };
        self.up.insert(up);
        let (ready, early) = self
            .early
            .drain(..)
            .partition(|(_, publisher)| *publisher == up);
        self.early = early;
        let ready: Vec<_> = ready;
        for (index, publisher) in ready {
            self.attach(Step::AttachSubscriber { index, publisher })
                .await?;
        }
        Ok(())
    }

    /// Answers and offers arrive as events of a participant's handle.
    fn on_handle(&self, index: Index, message: &Value) {
        let server_event = match (
            message["jsep"]["type"].as_str(),
            message["jsep"]["sdp"].as_str(),
        ) {
            (Some("answer"), Some(sdp)) => ServerEvent::Answered {
                index,
                sdp: sdp.into(),
            },
            (Some("offer"), Some(sdp)) => ServerEvent::Offered {
                index,
                revision: 0,
                sdp: sdp.into(),
            },
            _ if message["janus"] == "hangup" => ServerEvent::Failed {
                index: Some(index),
                why: format!("Janus hung up: {}", message["reason"]),
            },
            _ => return,
        };
        let _ = self.event_sender.send(server_event);
    }

    fn on_error(&mut self, message: &Value, error: &str) -> anyhow::Result<()> {
        let step = message["transaction"]
            .as_str()
            .and_then(|t| self.waiting.remove(t));
        let index = step.map(|step| match step {
            Step::AttachPublisher { index, .. }
            | Step::AttachSubscriber { index, .. }
            | Step::CreateRoom { index, .. }
            | Step::Request(index) => index,
        });
        let why = format!("Janus says: {error}");
        let _ = self.event_sender.send(ServerEvent::Failed { index, why });
        Ok(())
    }

    fn attached(&mut self, index: Index, message: &Value) -> anyhow::Result<()> {
        let handle = message["data"]["id"].as_u64();
        let handle = handle.with_context(|| format!("no handle was attached: {message}"))?;
        self.handles.insert(index, handle);
        self.index_by_handle.insert(handle, index);
        Ok(())
    }

    async fn request(
        &mut self,
        index: Index,
        body: Value,
        jsep: Option<Value>,
        step: Step,
    ) -> anyhow::Result<()> {
        let handle = self
            .handles
            .get(&index)
            .context("a participant has a handle")?;
        let mut message = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let transaction = self.send(message).await?;
        self.waiting.insert(transaction, step);
        Ok(())
    }

    async fn send(&mut self, mut message: Value) -> anyhow::Result<String> {
        self.next_transaction += 1;
        let transaction = self.next_transaction.to_string();
        message["transaction"] = json!(transaction);
        if self.session != 0 {
            message["session_id"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await?;
        Ok(transaction)
    }
}
