//! What a room's task is told.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::outbox::Outbox;
use crate::fleet::{Done, HeldSession, NodeError, NodeEvent};
use crate::ids::{NodeId, SessionId};
use crate::room::{JoinRequest, Request, RoomReport, SocketId};

/// From sockets, nodes and the admin API.
#[derive(Debug)]
pub enum RoomInput {
    /// A participant wants in.
    Join {
        /// Its socket.
        socket: SocketId,
        /// Where its messages go.
        outbox: Outbox,
        /// What was found good.
        request: JoinRequest,
        /// Where its sessions are to be, should it be new.
        node: Option<NodeId>,
    },
    /// A participant asks.
    Request {
        /// Who.
        socket: SocketId,
        /// Echoed in the reply.
        id: Option<u32>,
        /// What.
        request: Request,
    },
    /// A socket is gone.
    SocketGone(SocketId),
    /// A node answered.
    Replied(SessionId, Result<Done, NodeError>),
    /// Something happened to a session or a track of a node.
    Node(NodeId, NodeEvent),
    /// A node died.
    NodeLost(NodeId),
    /// A node is connected.
    NodeSynced {
        /// Which.
        node: NodeId,
        /// The sessions of the room that it holds, and no others.
        sessions: Vec<HeldSession>,
        /// Which it was asked for; `None`: all of them.
        asked: Option<Vec<SessionId>>,
        /// Where it relays.
        turn_urls: Arc<[String]>,
    },
    /// Somebody wants to see the room.
    Report(oneshot::Sender<RoomReport>),
}
