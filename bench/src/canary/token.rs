//! Tokens to join with: signed with an API key, or demo tokens of the server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::json;

use crate::http;

/// Source of the participants' tokens.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// Tokens are signed here with an API key.
    Key {
        /// API key: the issuer.
        key: String,
        /// API secret that signs the tokens.
        secret: String,
    },
    /// Demo tokens of the server at this URL.
    Demo(String),
}

/// Lifetime of a signed token.
const TTL: Duration = Duration::from_secs(600);

impl TokenSource {
    /// A token for `identity` in `room`.
    pub fn token(&self, room: &str, identity: &str) -> anyhow::Result<String> {
        match self {
            TokenSource::Key { key, secret } => mint(key, secret, room, identity),
            TokenSource::Demo(url) => fetch(url, room, identity),
        }
    }
}

fn mint(key: &str, secret: &str, room: &str, identity: &str) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": key,
        "sub": identity,
        "name": identity,
        "nbf": now.saturating_sub(5),
        "exp": now + TTL.as_secs(),
        "video": { "room": room, "roomJoin": true },
    });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    Ok(jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims,
        &key,
    )?)
}

fn fetch(url: &str, room: &str, identity: &str) -> anyhow::Result<String> {
    let endpoint = format!("{url}/v1/demo/token");
    let request = http::agent()
        .get(&endpoint)
        .query("room", room)
        .query("identity", identity);
    let answer = match request.query("name", identity).call() {
        Ok(answer) => answer,
        Err(ureq::Error::StatusCode(404)) => {
            bail!("{url} hands out no demo tokens: give --api-key and --api-secret")
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("no token from {endpoint} (is spillway running there?)"));
        }
    };
    let body: serde_json::Value = answer.into_body().read_json()?;
    let token = body["token"]
        .as_str()
        .with_context(|| format!("{endpoint} answered no token"))?;
    Ok(token.to_owned())
}
