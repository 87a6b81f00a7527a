//! The connection of a server to one node.

use std::sync::Arc;
use std::time::Duration;

use spillway_controlplane::fleet::{HeldSession, NodeError};
use spillway_controlplane::ids::NodeId;
use spillway_controlplane::limits::RECONNECT_PAUSE;

use super::tasks::Tasks;
use crate::clock::Time;
use crate::node::StreamId;

/// Time of a server's lease at nodes.
pub(super) const LEASE: Duration = Duration::from_secs(23);

/// The connection to one node.
pub(super) struct NodeLink {
    pub(super) node: NodeId,
    pub(super) state: LinkState,
    /// Number of the stream of events; others are of earlier connections.
    pub(super) stream: StreamId,
    pub(super) incarnation: Option<String>,
    pub(super) pause: std::time::Duration,
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Not connected; the next attempt is at this time.
    Waiting(Time),
    /// The state of the node is being read.
    Reading,
    /// Connected; the next renewal of the lease is at this time.
    Connected(Time),
}

/// Result of a task of a connection.
pub(super) enum LinkEvent {
    Read(NodeId, StreamId, Result<ReadNode, NodeError>),
    Renewed(NodeId, StreamId, Result<(), NodeError>),
}

/// What a server reads after a connect.
pub(super) struct ReadNode {
    pub(super) incarnation: String,
    pub(super) sessions: Vec<HeldSession>,
    pub(super) turn_urls: Arc<[String]>,
}

/// Type of the tasks of a server's connections.
pub(super) type LinkTasks = Tasks<LinkEvent>;

impl NodeLink {
    /// A connection that is opened at once.
    pub(super) fn new(node: NodeId, now: Time) -> Self {
        Self {
            node,
            state: LinkState::Waiting(now),
            stream: StreamId(0),
            incarnation: None,
            pause: RECONNECT_PAUSE.0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, LinkState::Connected(_))
    }

    /// Time at which the connection has something to do.
    pub(super) fn next_at(&self) -> Option<Time> {
        match self.state {
            LinkState::Waiting(at) | LinkState::Connected(at) => Some(at),
            LinkState::Reading => None,
        }
    }
}
