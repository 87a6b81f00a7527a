//! The registry: a list of nodes with their control addresses.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::ControlAddress;
use crate::ids::NodeId;

/// An entry of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Name of the node in the fleet.
    pub node: NodeId,
    /// Control address of its data plane.
    pub address: ControlAddress,
}

/// Source of the list of nodes.
pub trait Registry: Send + Sync + 'static {
    /// The current list of nodes. The receiver shows changes.
    fn nodes(&self) -> watch::Receiver<Arc<[NodeEntry]>>;
}

/// The nodes in the settings; they never change.
#[derive(Debug)]
pub struct StaticRegistry {
    nodes: watch::Sender<Arc<[NodeEntry]>>,
}

impl StaticRegistry {
    /// A registry of these nodes.
    pub fn new(nodes: Vec<NodeEntry>) -> Self {
        Self {
            nodes: watch::channel(nodes.into()).0,
        }
    }
}

impl Registry for StaticRegistry {
    fn nodes(&self) -> watch::Receiver<Arc<[NodeEntry]>> {
        self.nodes.subscribe()
    }
}
