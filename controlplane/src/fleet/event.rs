//! Events of a node.

use std::sync::Arc;

use super::{HeldSession, Offer};
use crate::ids::{NodeId, SessionId, TrackId};

/// Something that rooms must know of a node.
#[derive(Debug)]
pub struct NodeUpdate {
    /// The node that the update is about.
    pub node: NodeId,
    /// The event, or the change of the connection.
    pub update: Update,
}

/// Change of a node.
#[derive(Debug)]
pub enum Update {
    /// The data plane ended, with all its sessions.
    Lost,
    /// The connection is up and the state was read.
    Synced {
        /// The sessions that it holds, and no others.
        sessions: Vec<HeldSession>,
        /// TURN URLs of the node (RFC 7065), the preferred one first; empty without TURN.
        turn_urls: Arc<[String]>,
    },
    /// Something happened to a session or to tracks.
    Event(NodeEvent),
}

/// Event of a node about one session, or about tracks.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// ICE and DTLS are up.
    Connected {
        /// The session that is connected.
        session: SessionId,
        /// Shard that has the session.
        shard: u32,
    },
    /// The session ended by itself.
    Closed {
        /// The session that ended.
        session: SessionId,
        /// The handshake that failed (docs/protocol.md, `media`).
        failure: Option<String>,
    },
    /// A subscribe session is to be negotiated.
    Offer {
        /// The session that offers.
        session: SessionId,
        /// SDP, revision and tracks of the offer.
        offer: Offer,
    },
    /// The forwarded layer of a subscription changed.
    Layer {
        /// The session of the subscriber.
        session: SessionId,
        /// The track of the subscription.
        track: TrackId,
        /// The layer, or empty.
        rid: String,
        /// True when media is sent.
        is_active: bool,
        /// Why it is not.
        reason: Option<String>,
    },
    /// Audio levels of tracks with speech; replaces the last report of the shard.
    Levels {
        /// Shard that measured the levels.
        shard: u32,
        /// -dBov (RFC 6464): 0 loudest, 127 silent. Absent is silent.
        levels: Vec<(TrackId, u32)>,
    },
}
