//! Demo tokens: if enabled, every client can get a token.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::query::{QueryError, fields};
use super::site::{Site, error};
use crate::auth::{Claims, VideoGrant};
use crate::clock;
use crate::ids::{IdError, Identity, RoomName};
use crate::limits::DISPLAY_NAME_CHARS;

const LIFE_SECONDS: u64 = 6 * 60 * 60;

#[derive(Debug)]
struct DemoRequest {
    room: RoomName,
    identity: Identity,
    name: String,
}

/// Why a query cannot be answered with a token.
#[derive(Debug, thiserror::Error)]
enum DemoRequestError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Name(#[from] IdError),
    #[error("name has {0} characters, the limit is {DISPLAY_NAME_CHARS}")]
    Long(usize),
}

impl DemoRequest {
    fn read(query: &str) -> Result<Self, DemoRequestError> {
        let [room, identity, name] = fields(query, ["room", "identity", "name"])?;
        let name = name.unwrap_or_default();
        let chars = name.chars().count();
        if chars > DISPLAY_NAME_CHARS {
            return Err(DemoRequestError::Long(chars));
        }
        Ok(Self {
            room: room.ok_or(QueryError::Missing("room"))?.parse()?,
            identity: identity.ok_or(QueryError::Missing("identity"))?.parse()?,
            name,
        })
    }
}

/// Issues a demo token: `GET /v1/demo/token?room=&identity=&name=`.
pub(super) async fn token(
    State(site): State<Site>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !site.demo_tokens {
        let said = "this server gives no demo tokens (setting demo-tokens)";
        return error(StatusCode::NOT_FOUND, "not_found", said);
    }
    if let Some(said) = site.hosts.refuse_origin(&headers) {
        return error(StatusCode::FORBIDDEN, "not_permitted", &said);
    }
    let asked = match DemoRequest::read(&query.unwrap_or_default()) {
        Ok(asked) => asked,
        Err(wrong) => {
            return error(StatusCode::BAD_REQUEST, "bad_message", &wrong.to_string());
        }
    };
    let now = clock::unix_seconds();
    let token = site.keys.sign_demo(Claims {
        iss: String::new(),
        sub: asked.identity.to_string(),
        name: asked.name,
        nbf: None,
        exp: now + LIFE_SECONDS,
        video: VideoGrant {
            room: asked.room.to_string(),
            room_join: true,
            ..VideoGrant::default()
        },
    });
    let body = json!({
        "token": token,
        "room": asked.room,
        "identity": asked.identity,
        "expires": now + LIFE_SECONDS,
    });
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}
