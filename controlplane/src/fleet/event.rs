//! Events of nodes, and changes of the connections to them.

use std::sync::Arc;

use super::{HeldSession, Offer};
use crate::ids::{NodeId, SessionId, TrackId};

/// An update of one node.
#[derive(Debug)]
pub struct NodeUpdate {
    /// The node of the update.
    pub node: NodeId,
    /// The event, or the change of the connection.
    pub update: Update,
}

/// An event of a node, or a change of the connection.
#[derive(Debug)]
pub enum Update {
    /// The data plane ended, and with it all its sessions.
    Lost,
    /// The connection is open, and the node's state was read.
    Synced {
        /// All sessions of the node.
        sessions: Vec<HeldSession>,
        /// TURN URLs of the node (RFC 7065), the preferred one first; empty without TURN.
        turn_urls: Arc<[String]>,
    },
    /// Event about a session or about tracks.
    Event(NodeEvent),
}

/// Event of a node about one session or about tracks.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// ICE and DTLS are established.
    Connected {
        /// The session that is connected.
        session: SessionId,
        /// Shard of the session.
        shard: u32,
    },
    /// The session ended, not by a command.
    Closed {
        /// The session that ended.
        session: SessionId,
        /// The handshake that failed, if one did (docs/protocol.md, `media`).
        failure: Option<String>,
    },
    /// The node offers to negotiate a subscribe session.
    Offer {
        /// The session that offers.
        session: SessionId,
        /// SDP, revision and tracks of the offer.
        offer: Offer,
    },
    /// The simulcast layer that is forwarded to a subscriber changed.
    Layer {
        /// The session of the subscriber.
        session: SessionId,
        /// The track of the subscription.
        track: TrackId,
        /// Id of the layer (RFC 8851); empty without simulcast.
        rid: String,
        /// True when media is sent.
        is_active: bool,
        /// Why no media is sent.
        reason: Option<String>,
    },
    /// Audio levels of tracks with speech. Replaces the last report of the shard.
    Levels {
        /// Shard that measured the levels.
        shard: u32,
        /// Level in -dBov (RFC 6464): 0 is loudest, 127 is silent. Tracks that are not listed are
        /// silent.
        levels: Vec<(TrackId, u32)>,
    },
}
