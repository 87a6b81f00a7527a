//! State that all routes share, and JSON errors.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::watch;

use super::hosts::Hosts;
use crate::auth::Keys;
use crate::config::{PublicPath, SignalingLimits};
use crate::hub::Hub;
use crate::signaling::socket::Sockets;

/// What all routes share.
#[derive(Debug, Clone)]
pub struct Site {
    pub(super) hub: Arc<Hub>,
    pub(super) keys: Arc<Keys>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) admin_token: Option<Arc<str>>,
    pub(super) demo_tokens: bool,
    /// Hosts that are allowed while demo tokens are enabled.
    pub(super) hosts: Arc<Hosts>,
    pub(super) public_path: PublicPath,
    pub(super) shutdown: watch::Receiver<Option<Duration>>,
}

/// Settings of the HTTP routes.
#[derive(Debug)]
pub struct Policy {
    /// Bearer token of the admin API; `None`: the admin API is off.
    pub admin_token: Option<String>,
    /// True: every client can get a demo token.
    pub demo_tokens: bool,
    /// Hosts that are allowed while demo tokens are enabled.
    pub hosts: Hosts,
    /// Path under which a reverse proxy serves this server.
    pub public_path: PublicPath,
}

impl Site {
    /// Puts the shared state together.
    pub fn new(
        hub: Arc<Hub>,
        keys: Arc<Keys>,
        limits: SignalingLimits,
        Policy {
            admin_token,
            demo_tokens,
            hosts,
            public_path,
        }: Policy,
        shutdown: watch::Receiver<Option<Duration>>,
    ) -> Self {
        let (hub_of, keys_of) = (Arc::clone(&hub), Arc::clone(&keys));
        let sockets = Arc::new(Sockets::new(hub_of, keys_of, limits, shutdown.clone()));
        Self {
            hub,
            keys,
            sockets,
            admin_token: admin_token.map(Into::into),
            demo_tokens,
            hosts: Arc::new(hosts),
            public_path,
            shutdown,
        }
    }
}

/// A JSON error with a code of the signaling protocol.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"code": code, "message": message});
    (status, axum::Json(body)).into_response()
}
