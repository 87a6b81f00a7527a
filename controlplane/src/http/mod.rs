//! HTTP: routes, request checks, and the listener.

mod site; // shared state of the routes
mod admin; // admin API, with a bearer token
mod demo; // demo tokens for every client, if enabled
mod hosts; // allowed values of Host and Origin
mod listener; // accepts connections, with limits and deadlines
mod sources; // connections per source
mod page; // the embedded page
mod public_path; // strips the path of a reverse proxy
mod query; // query of a URL

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use spillway_exposition::{Format, expose};

pub use admin::{AllocationView, NodeView, ParticipantView, RoomView};
pub use hosts::Hosts;
use listener::ConnectionSlot;
pub use listener::{Capacity, serve};
use site::error;
pub use site::{Policy, Site};

use crate::fleet::NodeState;
use crate::limits::{BODY_BYTES, REQUEST_TIME};
use crate::signaling::upgrade::{self, Connection};

impl Site {
    /// All routes of the HTTP port.
    pub fn router(self) -> Router {
        let short = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/v1/demo/token", get(demo::token))
            .merge(admin::routes(&self))
            .merge(page::routes())
            .layer(middleware::from_fn(with_time_limit));
        let public_path = self.public_path.clone();
        let routes = short
            .route("/v1/signal", get(signal))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .layer(middleware::from_fn_with_state(self.clone(), check_host))
            .with_state(self);
        public_path.serve_below(routes)
    }
}

/// Refuses requests for other hosts while demo tokens are enabled. Health probes may use any host
/// name, because their responses reveal nothing.
async fn check_host(State(site): State<Site>, request: Request, next: Next) -> Response {
    let is_probe = ["/healthz", "/readyz"].contains(&request.uri().path());
    if !site.demo_tokens || is_probe {
        return next.run(request).await;
    }
    match site.hosts.refuse(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(said) => error(StatusCode::FORBIDDEN, "not_permitted", &said),
    }
}

async fn with_time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(mut response) => {
            let nosniff = HeaderValue::from_static("nosniff");
            let headers = response.headers_mut();
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
            response
        }
        Err(_) => {
            let said = format!("no answer within {} s", REQUEST_TIME.as_secs());
            error(StatusCode::GATEWAY_TIMEOUT, "internal", &said)
        }
    }
}

async fn signal(
    State(site): State<Site>,
    Extension(slot): Extension<ConnectionSlot>,
    mut request: Request,
) -> Response {
    let headers = match upgrade::accept(request.method(), request.version(), request.headers()) {
        Ok(headers) => headers,
        Err(refused) => return error(refused.status(), "not_websocket", &refused.to_string()),
    };
    let foreign = site.hosts.refuse_origin(request.headers());
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The client may have disconnected before the response.
        if let Ok(upgraded) = upgrading.await {
            site.sockets.serve(Connection::new(upgraded), foreign).await;
        }
        drop(slot);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().extend(headers.into_iter().flatten());
    response
}

async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

async fn readyz(State(site): State<Site>) -> Response {
    if site.shutdown.borrow().is_some() {
        let body = json!({"status": "draining", "reason": "the server is going away"});
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    }
    let states: BTreeMap<_, _> = site.hub.fleet().states().into_iter().collect();
    let is_any_connected = states.values().any(|state| *state == NodeState::Connected);
    let degraded = site.hub.store().degraded();
    let (code, status, reason) = match (is_any_connected, degraded) {
        (true, None) => (StatusCode::OK, "ok", None),
        // The server remains ready: rooms continue without the store, and other servers have the
        // same problem.
        (true, Some(why)) => {
            let reason = format!("the store is unavailable: {why}");
            (StatusCode::OK, "degraded", Some(reason))
        }
        (false, _) => {
            let reason = "no node is connected".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "degraded", Some(reason))
        }
    };
    let mut body = json!({"status": status, "nodes": states});
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    (code, axum::Json(body)).into_response()
}

async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Response {
    let metrics = site.hub.metrics();
    let states = site.hub.fleet().states();
    let connected = states
        .iter()
        .filter(|(_, state)| *state == NodeState::Connected);
    metrics
        .nodes_connected
        .set(connected.count().try_into().unwrap_or(i64::MAX));
    let accept = headers.get_all(header::ACCEPT).iter();
    let format = Format::of_accept(accept.filter_map(|value| value.to_str().ok()));
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "accept"),
    ];
    (headers, expose(&metrics.encode(), format)).into_response()
}

async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "nothing is here")
}

async fn method_not_allowed() -> Response {
    let said = "only GET and HEAD are answered here";
    error(StatusCode::METHOD_NOT_ALLOWED, "not_found", said)
}
