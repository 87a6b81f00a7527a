//! A scripted client for signaling and HTTP.

use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use spillway_tests::clock;
use spillway_tests::servers::KEY;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(10);

/// A signaling socket of a test.
pub(super) struct SignalingSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl SignalingSocket {
    /// Opens `path` of the server at `url`, optionally as a page of `origin`.
    pub(super) async fn open(url: &str, path: &str, origin: Option<&str>) -> anyhow::Result<Self> {
        let url = format!("{}{path}", url.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse()?);
        }
        Ok(Self(tokio_tungstenite::connect_async(request).await?.0))
    }

    /// Joins with `token`; returns the error on failure.
    pub(super) async fn join(url: &str, token: &str) -> anyhow::Result<(Self, Value)> {
        let mut talk = Self::open(url, "/v1/signal", None).await?;
        let said = talk
            .request(&json!({"type": "join", "id": 1, "token": token}).to_string())
            .await?;
        Ok((talk, said))
    }

    /// Sends `text`; returns the next message that is not an event.
    pub(super) async fn request(&mut self, text: &str) -> anyhow::Result<Value> {
        self.0.send(Message::text(text)).await?;
        loop {
            let next = clock::timeout(PATIENCE, self.0.next()).await?;
            let message = next.context("the socket ended")??;
            if let Message::Text(text) = message {
                let value: Value = serde_json::from_str(&text)?;
                if !["event", "speakers"].contains(&value["type"].as_str().unwrap_or_default()) {
                    return Ok(value);
                }
            }
        }
    }
}

/// Signs a token with any claims.
pub(super) fn sign(claims: &Value) -> anyhow::Result<String> {
    let key = EncodingKey::from_secret(KEY.1.as_bytes());
    Ok(jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &key,
    )?)
}

/// Signs claims given as text, which a JSON writer cannot produce.
pub(super) fn sign_text(claims: String) -> anyhow::Result<String> {
    let claims = RawValue::from_string(claims)?;
    let key = EncodingKey::from_secret(KEY.1.as_bytes());
    let header = Header::new(Algorithm::HS256);
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}

/// Claims that permit `identity` to join `room`.
pub(super) fn claims(room: &str, identity: &str) -> Value {
    let exp = spillway_tests::turn::unix_s() + 600;
    json!({"iss": KEY.0, "sub": identity, "exp": exp, "video": {"room": room, "roomJoin": true}})
}

/// Sends `GET` with additional headers. Returns status, content type and body.
pub(super) fn get(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<(u16, String, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.call()?;
    let kind = answer
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    Ok((
        answer.status().as_u16(),
        kind,
        answer.body_mut().read_to_string()?,
    ))
}

/// Percent-encodes every byte, for a query or a path.
pub(super) fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}
