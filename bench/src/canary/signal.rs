//! The signaling WebSocket, as `docs/protocol.md` describes it.

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open signaling connection.
pub struct Signal {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u32,
}

impl Signal {
    /// Connects to the server at `url` (http://host:port).
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let url = format!("{}/v1/signal", url.replacen("http", "ws", 1));
        let connected = connect_async(&url).await;
        let (socket, _) = connected.with_context(|| format!("cannot connect to {url}"))?;
        Ok(Self { socket, next_id: 1 })
    }

    /// Sends `message` with a fresh id.
    pub async fn send(&mut self, mut message: Value) -> anyhow::Result<u32> {
        let id = self.next_id;
        self.next_id += 1;
        message["id"] = json!(id);
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .context("signaling")?;
        Ok(id)
    }

    /// Waits for the next message.
    pub async fn receive(&mut self) -> anyhow::Result<Value> {
        while let Some(message) = self.socket.next().await {
            match message.context("signaling")? {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text)?;
                    if message["type"] == "error" {
                        bail!(
                            "the server says {}: {}",
                            message["code"],
                            message["message"]
                        );
                    }
                    return Ok(message);
                }
                Message::Close(frame) => bail!("the server closed the signaling socket: {frame:?}"),
                _ => {} // pings are answered by the library
            }
        }
        bail!("the signaling socket ended")
    }
}
