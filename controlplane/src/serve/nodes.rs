//! The role that keeps the connections to nodes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::role::{Role, Stopping};
use crate::fleet::{Fleet, Registry};

/// Connections to the nodes of a registry.
pub(super) struct Nodes {
    fleet: Arc<Fleet>,
    following: JoinHandle<()>,
}

impl Nodes {
    /// Connects to them, and follows the registry.
    pub(super) fn start(fleet: &Arc<Fleet>, registry: Arc<dyn Registry>) -> Self {
        // Nodes that are listed now are added at once.
        fleet.adopt(&registry.nodes().borrow());
        Self {
            fleet: Arc::clone(fleet),
            following: tokio::spawn(Arc::clone(fleet).follow(registry)),
        }
    }
}

impl Role for Nodes {
    fn name(&self) -> &'static str {
        "nodes"
    }

    fn stop(&self, _how: Stopping) -> BoxFuture<'_, ()> {
        self.following.abort();
        self.fleet.stop();
        Box::pin(std::future::ready(()))
    }
}
