//! What a room gets from its server: settings, facts about nodes, and data read for a join.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::Keys;
use crate::config::SignalingLimits;
use crate::fleet::HeldSession;
use crate::history::Missed;
use crate::ids::{NodeId, SessionId};
use crate::turn::Issuer;

/// Settings that all rooms of a server share.
#[derive(Debug)]
pub struct RoomConfig {
    /// Keys that sign resume keys.
    pub keys: Arc<Keys>,
    /// Limits of rooms and participants.
    pub limits: SignalingLimits,
    /// Issues TURN credentials; `None` if TURN is not configured.
    pub turn: Option<Issuer>,
    /// True if other servers serve the same rooms: sessions unknown to this server may belong to
    /// them.
    pub is_shared: bool,
    /// Owner name in the leases of this server's sessions.
    pub owner: String,
}

/// State of a node, as far as known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Media {
    /// The node is connected, or its state is unknown.
    #[default]
    Up,
    /// The data plane ended.
    Lost,
}

/// Facts about a node that a room needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// State of its media.
    pub media: Media,
    /// TURN URLs of the node (RFC 7065); empty without TURN.
    pub turn_urls: Arc<[String]>,
}

/// Facts of all connected nodes.
pub type NodeFactsById = BTreeMap<NodeId, NodeFacts>;

/// Data that is read for a join, because the room does not have it.
#[derive(Debug)]
pub struct ReadForJoin {
    /// The history since the resume point.
    pub missed: Missed,
    /// Sessions of a participant that moves here from another server, as its node reports them.
    pub sessions: Vec<HeldSession>,
    /// The node for the sessions of a new participant; `None` if no node is available.
    pub node: Option<NodeId>,
}

/// The sessions of the room that a node has.
#[derive(Debug)]
pub struct NodeSync {
    /// The reported sessions. The node has no other sessions of the room; if `asked` is `Some`, it
    /// has no other sessions of `asked`.
    pub sessions: Vec<HeldSession>,
    /// The sessions that the node was asked for; the node may have more. `None`: the node was asked
    /// for all sessions.
    pub asked: Option<Vec<SessionId>>,
    /// TURN URLs of the node (RFC 7065).
    pub turn_urls: Arc<[String]>,
}
