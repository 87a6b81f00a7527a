//! Nodes: their registry, the connections to them, and the choice of a node for a new participant.
//!
//! Rooms use this folder's types for commands, events and sessions. Types of the schema (gRPC) are
//! used only in this folder.

mod annotation; // bytes that a node keeps with a session and never reads
mod session; // types of sessions and their parts
mod command; // commands to a node and their results
mod event; // events of a node
pub mod convert; // schema types <-> our types
mod registry; // list of nodes
mod connection; // the connection to one node, and its supervision

pub use annotation::{SessionAnnotation, TrackAnnotation};
pub use command::{Command, Done, NodeError, Playable, PutPublish, TrackSubscription};
pub use connection::{Connection, Lease, NodeState};
pub use event::{NodeEvent, NodeUpdate, Update};
pub use registry::{NodeEntry, Registry, StaticRegistry};
pub use session::{HeldSession, MidTrack, Offer, Published, SubscriptionParams, SyncGroup};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::ids::{NodeId, RoomName};
use crate::limits::NODE_UPDATES;
use connection::Supervisor;

/// All nodes of the registry. Connections to them are reopened automatically.
pub struct Fleet {
    member_by_node: Mutex<BTreeMap<NodeId, FleetNode>>,
    lease: Lease,
    /// Id of the TURN secret of this server, to compare with those of the nodes.
    turn_secret_id: Option<String>,
    updates: mpsc::Sender<NodeUpdate>,
}

/// A node of the fleet.
struct FleetNode {
    entry: NodeEntry,
    connection: Connection,
    task: JoinHandle<()>,
}

impl Fleet {
    /// A fleet without nodes. The receiver gets updates of all nodes.
    pub fn new(
        lease: Lease,
        turn_secret_id: Option<String>,
    ) -> (Arc<Self>, mpsc::Receiver<NodeUpdate>) {
        let (updates, receiver) = mpsc::channel(NODE_UPDATES);
        let fleet = Self {
            member_by_node: Mutex::default(),
            lease,
            turn_secret_id,
            updates,
        };
        (Arc::new(fleet), receiver)
    }

    /// Connects to the nodes in `entries`, and closes connections to others.
    pub fn connect_to(&self, entries: &[NodeEntry]) {
        let mut members = self.members();
        members.retain(|node, member| {
            let stays = entries.contains(&member.entry);
            if !stays {
                tracing::info!(%node, "node: no longer in the registry");
                member.task.abort();
            }
            stays
        });
        for entry in entries {
            if members.contains_key(&entry.node) {
                continue;
            }
            let (lease, secret) = (self.lease.clone(), self.turn_secret_id.clone());
            let made = Supervisor::new(entry.clone(), (lease, secret), self.updates.clone());
            match made {
                Ok((supervisor, connection)) => {
                    let (entry, task) = (entry.clone(), tokio::spawn(supervisor.run()));
                    let member = FleetNode {
                        entry,
                        connection,
                        task,
                    };
                    members.insert(member.entry.node.clone(), member);
                }
                Err(error) => {
                    tracing::error!(node = %entry.node, %error, "node: no address to connect to");
                }
            }
        }
    }

    /// Follows changes of the registry until it ends.
    pub async fn follow(self: Arc<Self>, registry: Arc<dyn Registry>) {
        let mut nodes = registry.nodes();
        loop {
            let entries = Arc::clone(&nodes.borrow_and_update());
            self.connect_to(&entries);
            if nodes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Names of the nodes, sorted.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members().keys().cloned().collect()
    }

    /// The connection to a node; `None` if the registry does not have the node.
    pub fn connection(&self, node: &NodeId) -> Option<Connection> {
        Some(self.members().get(node)?.connection.clone())
    }

    /// Connections to all nodes of the registry.
    pub fn connections(&self) -> Vec<(NodeId, Connection)> {
        let members = self.members();
        let connection =
            |(node, member): (&NodeId, &FleetNode)| (node.clone(), member.connection.clone());
        members.iter().map(connection).collect()
    }

    /// State of the connection to each node.
    pub fn states(&self) -> Vec<(NodeId, NodeState)> {
        let members = self.members();
        let state = |(node, member): (&NodeId, &FleetNode)| {
            (node.clone(), *member.connection.state().borrow())
        };
        members.iter().map(state).collect()
    }

    /// The node for participants that join `room`: the first connected node, or the first one if
    /// none is connected.
    pub fn choose(&self, _room: &RoomName) -> Option<NodeId> {
        let members = self.members();
        let is_connected =
            |member: &FleetNode| *member.connection.state().borrow() == NodeState::Connected;
        let connected = members.iter().find(|(_, member)| is_connected(member));
        let (node, _) = connected.or_else(|| members.iter().next())?;
        Some(node.clone())
    }

    /// The error of a command to a node that the registry does not have.
    pub fn unknown(node: &NodeId) -> NodeError {
        NodeError::Unavailable(format!("node '{node}' is not in the registry"))
    }

    /// Waits until a node is connected; returns the first one.
    pub async fn connected(&self) -> Connection {
        loop {
            let mut states: Vec<(watch::Receiver<NodeState>, Connection)> = Vec::new();
            for (_, connection) in self.connections() {
                states.push((connection.state(), connection));
            }
            for (state, connection) in &states {
                if *state.borrow() == NodeState::Connected {
                    return connection.clone();
                }
            }
            let changes = states
                .iter_mut()
                .map(|(state, _)| Box::pin(state.changed()));
            let changes: Vec<_> = changes.collect();
            if changes.is_empty() {
                tokio::time::sleep(REGISTRY_PAUSE).await;
            } else {
                let _ = futures_util::future::select_all(changes).await;
            }
        }
    }

    /// Closes all connections. From now on the end of a node is not reported.
    pub fn stop(&self) {
        for member in self.members().values() {
            member.task.abort();
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<NodeId, FleetNode>> {
        // A panic elsewhere leaves whole values: each change is one step.
        self.member_by_node
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pause before an empty registry is read again.
const REGISTRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("nodes", &self.nodes())
            .finish_non_exhaustive()
    }
}
