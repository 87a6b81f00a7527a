//! The admin API with a bearer token: rooms, sessions, nodes and TURN allocations
//! (docs/operating/admin-api.md).

use std::collections::{BTreeMap, HashMap};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spillway_wire::dataplane as wire;

use super::site::{Site, error};
use crate::auth::equal_in_constant_time;
use crate::fleet::{Fleet, NodeError};
use crate::history::Track;
use crate::ids::{Half, IdError, Identity, NodeId, ParticipantId, RoomName, SessionId};
use crate::room::{MemberReport, RoomReport};

/// A room in the list that `room ls` shows.
#[derive(Debug, Serialize)]
struct RoomSummary {
    room: RoomName,
    participant_count: usize,
    participants: Vec<ParticipantSummary>,
}

#[derive(Debug, Serialize)]
struct ParticipantSummary {
    participant: ParticipantId,
    identity: Identity,
    name: String,
    socket: &'static str,
    tracks: Vec<Track>,
}

/// A room with all its sessions, for `room show`.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct RoomView {
    pub room: String,
    pub epoch: String,
    pub offset: u64,
    pub participants: Vec<ParticipantView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct ParticipantView {
    pub participant: String,
    pub identity: String,
    pub name: String,
    pub node: String,
    pub socket: String,
    pub tracks: serde_json::Value,
    pub publish: Option<SessionView>,
    pub subscribe: Option<SessionView>,
}

/// A session on its node.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct SessionView {
    pub session: String,
    pub connected: bool,
    pub shard: Option<u32>,
    pub subscriptions: Vec<SubscriptionView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct SubscriptionView {
    pub track: String,
    pub mid: String,
    /// Id of the forwarded layer; empty if no layer is forwarded, or without simulcast.
    pub layer: String,
    pub paused: bool,
    pub max_height: u32,
    pub priority: u32,
}

/// A node, for `node ls`.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct NodeView {
    pub node: String,
    pub incarnation: String,
    pub version: String,
    pub addresses: Vec<String>,
    pub uptime_ms: u64,
    pub max_sessions: u32,
    pub shards: Vec<ShardView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // dataplane.proto, Shard
pub struct ShardView {
    pub shard: u32,
    pub core: u32,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub drops: u64,
    pub sessions: u32,
    pub tracks: u32,
    pub subscriptions: u32,
    pub busy: f64,
}

/// A TURN allocation, for `turn ls`.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // dataplane.proto, Allocation
pub struct AllocationView {
    pub node: String,
    pub shard: u32,
    pub transport: String,
    pub client: String,
    pub username: String,
    pub relayed: Vec<String>,
    pub permissions: u32,
    pub channels: u32,
    pub to_peer_bytes: u64,
    pub to_client_bytes: u64,
    pub expires_in_s: u32,
}

/// The routes of the admin API.
pub(super) fn routes(site: &Site) -> Router<Site> {
    Router::new()
        .route("/v1/admin/rooms", get(rooms))
        .route("/v1/admin/rooms/{room}", get(room))
        .route("/v1/admin/nodes", get(nodes))
        .route("/v1/admin/turn/allocations", get(allocations))
        .layer(middleware::from_fn_with_state(site.clone(), authorize))
}

async fn authorize(State(site): State<Site>, request: Request, next: Next) -> Response {
    let Some(wanted) = &site.admin_token else {
        let said = "the admin API is off: set admin-token (SPILLWAY_ADMIN_TOKEN)";
        return error(StatusCode::FORBIDDEN, "not_permitted", said);
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| equal_in_constant_time(given, wanted.as_bytes())) {
        return next.run(request).await;
    }
    let said = "the admin API wants the admin token: Authorization: Bearer TOKEN";
    let mut response = error(StatusCode::UNAUTHORIZED, "token_invalid", said);
    let scheme = header::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    response
}

async fn rooms(State(site): State<Site>) -> Response {
    let names = site.hub.room_names();
    let reports = names.iter().map(|name| site.hub.report(name));
    let reports = futures_util::future::join_all(reports).await;
    let rooms: Vec<_> = reports.into_iter().flatten().map(summary).collect();
    axum::Json(json!({ "rooms": rooms })).into_response()
}

async fn room(State(site): State<Site>, name: Result<Path<String>, PathRejection>) -> Response {
    let bad = |said: &str| error(StatusCode::BAD_REQUEST, "bad_message", said);
    let name = match name {
        Ok(Path(name)) => name,
        Err(rejection) => return bad(&rejection.body_text()),
    };
    let report = match name.parse() {
        Ok(name) => site.hub.report(&name).await,
        Err(refused) => return bad(&IdError::to_string(&refused)),
    };
    let Some(report) = report else {
        let said = format!("this server has no room '{name}'; `spillway room ls` lists its rooms");
        return error(StatusCode::NOT_FOUND, "not_found", &said);
    };
    match sessions_of(&site, &report).await {
        Ok(sessions) => axum::Json(view(report, sessions)).into_response(),
        Err(failed) => unavailable(&failed.to_string()),
    }
}

/// Reads the sessions of the room's participants from their nodes.
async fn sessions_of(site: &Site, report: &RoomReport) -> Result<Vec<wire::Session>, NodeError> {
    let mut ids_by_node: BTreeMap<&NodeId, Vec<SessionId>> = BTreeMap::new();
    for p in &report.participants {
        let ids = ids_by_node.entry(&p.node).or_default();
        ids.extend(p.participant.sessions(p.generation));
    }
    let mut sessions = Vec::new();
    for (node, ids) in ids_by_node {
        let connection = site.hub.fleet().connection(node);
        let connection = connection.ok_or_else(|| Fleet::unknown(node))?;
        sessions.extend(connection.state_of(&ids).await?.sessions);
    }
    Ok(sessions)
}

/// Lists the nodes that answer, and the errors of the others.
async fn nodes(State(site): State<Site>) -> Response {
    let (mut views, mut unreachable) = (Vec::new(), Vec::new());
    for (node, connection) in site.hub.fleet().connections() {
        match connection.describe().await {
            Ok(described) => views.push(node_view(&node, described)),
            Err(failed) => {
                unreachable.push(json!({ "node": node, "error": failed.to_string() }));
            }
        }
    }
    if let (true, Some(first)) = (views.is_empty(), unreachable.first()) {
        return unavailable(first["error"].as_str().unwrap_or_default());
    }
    axum::Json(json!({ "nodes": views, "unreachable": unreachable })).into_response()
}

async fn allocations(State(site): State<Site>) -> Response {
    let mut views = Vec::new();
    for (node, connection) in site.hub.fleet().connections() {
        match connection.allocations().await {
            Ok(listed) => {
                let of_node = |one| allocation_view(&node, one);
                views.extend(listed.into_iter().map(of_node));
            }
            Err(failed) => return unavailable(&failed.to_string()),
        }
    }
    axum::Json(json!({ "allocations": views })).into_response()
}

fn allocation_view(node: &NodeId, one: wire::Allocation) -> AllocationView {
    AllocationView {
        node: node.to_string(),
        shard: one.shard,
        transport: one.transport,
        client: one.client,
        username: one.username,
        relayed: one.relayed,
        permissions: one.permissions,
        channels: one.channels,
        to_peer_bytes: one.to_peer_bytes,
        to_client_bytes: one.to_client_bytes,
        expires_in_s: one.expires_in_s,
    }
}

fn unavailable(said: &str) -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "media_unavailable", said)
}

fn summary(report: RoomReport) -> RoomSummary {
    let participant = |p: MemberReport| ParticipantSummary {
        participant: p.participant,
        identity: p.identity,
        name: p.name,
        socket: p.socket,
        tracks: p.tracks,
    };
    let participants: Vec<_> = report.participants.into_iter().map(participant).collect();
    RoomSummary {
        room: report.room,
        participant_count: participants.len(),
        participants,
    }
}

fn view(report: RoomReport, sessions: Vec<wire::Session>) -> RoomView {
    let by_name = |session: wire::Session| (session.session.clone(), session);
    let mut session_by_name: HashMap<_, _> = sessions.into_iter().map(by_name).collect();
    let mut participant = |p: MemberReport| {
        let mut session = |half| {
            let name = p.participant.session(half, p.generation).to_string();
            session_by_name.remove(&name).map(session_view)
        };
        ParticipantView {
            publish: session(Half::Publish),
            subscribe: session(Half::Subscribe),
            participant: p.participant.to_string(),
            identity: p.identity.to_string(),
            name: p.name,
            node: p.node.to_string(),
            socket: p.socket.to_owned(),
            tracks: json!(p.tracks),
        }
    };
    RoomView {
        room: report.room.to_string(),
        epoch: report.epoch.to_string(),
        offset: report.offset,
        participants: report
            .participants
            .into_iter()
            .map(&mut participant)
            .collect(),
    }
}

fn session_view(session: wire::Session) -> SessionView {
    let subscription = |subscription: wire::Subscription| {
        let wish = subscription.wish.unwrap_or_default();
        SubscriptionView {
            track: subscription.track,
            mid: subscription.mid,
            layer: subscription.rid,
            paused: wish.paused,
            max_height: wish.max_height,
            priority: wish.priority,
        }
    };
    SessionView {
        session: session.session,
        connected: session.connected,
        shard: session.shard,
        subscriptions: session
            .subscriptions
            .into_iter()
            .map(subscription)
            .collect(),
    }
}

fn node_view(id: &NodeId, node: wire::Node) -> NodeView {
    let shard = |shard: wire::Shard| ShardView {
        shard: shard.shard,
        core: shard.core,
        packets_in: shard.packets_in,
        packets_out: shard.packets_out,
        bytes_in: shard.bytes_in,
        bytes_out: shard.bytes_out,
        drops: shard.drops,
        sessions: shard.sessions,
        tracks: shard.tracks,
        subscriptions: shard.subscriptions,
        busy: shard.busy_fraction,
    };
    NodeView {
        node: id.to_string(),
        incarnation: node.incarnation,
        version: node.version,
        addresses: node.addresses,
        uptime_ms: node.uptime_ms,
        max_sessions: node.max_sessions,
        shards: node.shards.into_iter().map(shard).collect(),
    }
}
