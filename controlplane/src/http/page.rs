//! The page that is embedded in the binary: all files of `src/page/`, with an ETag.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::hosts::{self, Host};
use super::site::Site;

const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// The module that applications import. It imports the modules in `client/`.
const CLIENT: &str = "spillway.js";
const CLIENT_PARTS: &str = "client/";

/// Content-Security-Policy: scripts and styles of this server only. `policy` appends the hosts for
/// WebSockets.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; connect-src 'self'";

const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), \
     speaker-selection=(self), autoplay=(self)";

/// One route per file, under its path in the folder; `index.html` is `/`.
pub(super) fn routes() -> Router<Site> {
    FILES.iter().fold(Router::new(), |router, (name, bytes)| {
        let path = match *name {
            "index.html" => "/".to_owned(),
            name => format!("/{name}"),
        };
        let etag = etag(bytes);
        let handler = move |uri: Uri, headers: HeaderMap| {
            let mut response = file(name, bytes, &etag, &headers);
            let policy = policy(hosts::of_request(&uri, &headers).as_ref());
            let set = response.headers_mut();
            set.insert(header::CONTENT_SECURITY_POLICY, policy);
            async move { response }
        };
        router.route(&path, get(handler))
    })
}

/// Adds the WebSocket URLs of `host`, because in some browsers 'self' does not cover WebSockets of
/// the same host.
fn policy(host: Option<&Host>) -> HeaderValue {
    let text = match host {
        Some(host) => format!("{POLICY} ws://{host} wss://{host}"),
        None => POLICY.to_owned(),
    };
    HeaderValue::from_str(&text).expect("hosts are letters, digits and punctuation")
}

fn file(name: &'static str, bytes: &'static [u8], etag: &str, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        bytes.into_response()
    };
    let set = response.headers_mut();
    let value = |text: &str| text.parse().expect("our header values are ASCII");
    set.insert(header::CONTENT_TYPE, value(content_type(name)));
    set.insert(header::ETAG, value(etag));
    set.insert(header::CACHE_CONTROL, value("no-cache"));
    set.insert(header::REFERRER_POLICY, value("no-referrer"));
    set.insert("permissions-policy", value(PERMISSIONS));
    if name == CLIENT || name.starts_with(CLIENT_PARTS) {
        // Pages of other origins import the client, which is several modules.
        set.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value("*"));
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

fn etag(bytes: &[u8]) -> String {
    // Keys of this hasher are fixed: the same file has the same tag on every server.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
