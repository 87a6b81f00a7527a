//! The role that connects to the nodes of the registry.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::role::{Role, Stopping};
use crate::fleet::{Fleet, Registry};

/// The role: connections to all nodes of a registry.
pub(super) struct Nodes {
    fleet: Arc<Fleet>,
    following: JoinHandle<()>,
}

impl Nodes {
    /// Connects to all nodes, and follows changes of the registry.
    pub(super) fn start(fleet: &Arc<Fleet>, registry: Arc<dyn Registry>) -> Self {
        // Nodes that are in the registry now are added before the function returns.
        fleet.connect_to(&registry.nodes().borrow());
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
