//! Data that a room gets from its server: common settings, facts about nodes, and reads for a join.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::Keys;
use crate::config::SignalingLimits;
use crate::fleet::HeldSession;
use crate::history::Missed;
use crate::ids::NodeId;
use crate::turn::Issuer;

/// What every room of a server has in common.
#[derive(Debug)]
pub struct RoomConfig {
    /// Keys that sign resume keys.
    pub keys: Arc<Keys>,
    /// What a room and a participant may have.
    pub limits: SignalingLimits,
    /// Hands out what opens the relay, where there is one.
    pub turn: Option<Issuer>,
    /// Other servers serve the same rooms: what this one does not know may be theirs.
    pub is_shared: bool,
    /// Owner of the leases of this server's sessions.
    pub owner: String,
}

/// Whether a node is there, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Media {
    /// It is, or nothing else is known.
    #[default]
    Up,
    /// Its data plane died.
    Lost,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it is there.
    pub media: Media,
    /// Where it relays (RFC 7065); empty where it does not.
    pub turn_urls: Arc<[String]>,
}

/// Facts of all connected nodes.
pub type NodeFactsById = BTreeMap<NodeId, NodeFacts>;

/// What a join needs that the room does not have.
#[derive(Debug)]
pub struct ReadForJoin {
    /// The history since the resume point.
    pub missed: Missed,
    /// Sessions of a participant from another server, as its node has them.
    pub sessions: Vec<HeldSession>,
    /// The node for new participants; `None` when there is none.
    pub node: Option<NodeId>,
}
