//! Tokens for anybody who asks: for the page and for probes, and only where that is wanted.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Site, error};
use crate::auth::{Claims, VideoGrant};
use crate::clock;
use crate::ids::{Identity, RoomName};
use crate::limits::NAME_CHARS;

const LIFE_SECONDS: u64 = 6 * 60 * 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    room: RoomName,
    identity: Identity,
    #[serde(default)]
    name: String,
}

/// `GET /v1/demo/token?room=&identity=&name=`
pub(super) async fn token(
    State(site): State<Site>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    if !site.demo_tokens {
        let said = "this server gives no demo tokens (setting demo-tokens)";
        return error(StatusCode::NOT_FOUND, "not_found", said);
    }
    if let Some(said) = site.hosts.refuse_origin(&headers) {
        return error(StatusCode::FORBIDDEN, "not_permitted", &said);
    }
    let Query(asked) = match asked {
        Ok(asked) => asked,
        Err(rejection) => {
            let said = rejection.body_text();
            return error(StatusCode::BAD_REQUEST, "bad_message", &said);
        }
    };
    let chars = asked.name.chars().count();
    if chars > NAME_CHARS {
        let said = format!("name has {chars} characters, the limit is {NAME_CHARS}");
        return error(StatusCode::BAD_REQUEST, "bad_message", &said);
    }
    let now = clock::unix_seconds();
    let token = site.keys.sign(Claims {
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
