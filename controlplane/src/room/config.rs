//! Data that a room gets from its server: common settings, facts about nodes, and reads for a join.

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
    /// Hands out what opens the relay, where there is one.
    pub turn: Option<Issuer>,
    /// Other servers serve the same rooms: what this one does not know may be theirs.
    pub is_shared: bool,
    /// Owner of the leases of this server's sessions.
    pub owner: String,
}

/// State of a node, as far as known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Media {
    /// The node is connected, or its state is unknown.
    #[default]
    Up,
    /// Its data plane ended.
    Lost,
}

/// Facts about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// State of its media.
    pub media: Media,
    /// TURN URLs of the node (RFC 7065); empty without TURN.
    pub turn_urls: Arc<[String]>,
}

/// Facts of all connected nodes.
pub type NodeFactsById = BTreeMap<NodeId, NodeFacts>;

/// Reads of a join that the room does not have.
#[derive(Debug)]
pub struct ReadForJoin {
    /// The history since the resume point.
    pub missed: Missed,
    /// Sessions of a participant from another server, as its node has them.
    pub sessions: Vec<HeldSession>,
    /// The node for new participants; `None` when there is none.
    pub node: Option<NodeId>,
}

/// What a node holds of the room.
#[derive(Debug)]
pub struct NodeSync {
    /// These sessions, and no others.
    pub sessions: Vec<HeldSession>,
    /// Of these, which it was asked for: others may have come since. `None`: of all.
    pub asked: Option<Vec<SessionId>>,
    /// Where it relays (RFC 7065).
    pub turn_urls: Arc<[String]>,
}
