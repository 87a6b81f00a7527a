//! Inputs of a room's task.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::outbox::Outbox;
use crate::fleet::{Done, HeldSession, NodeError, NodeEvent};
use crate::ids::{NodeId, SessionId};
use crate::room::{JoinRequest, Request, RoomReport, SocketId};

/// Input from sockets, nodes and the admin API.
#[derive(Debug)]
pub enum RoomInput {
    /// A participant wants in.
    Join {
        /// Socket that wants to join.
        socket: SocketId,
        /// Queue of its messages.
        outbox: Outbox,
        /// Request with a valid token.
        request: JoinRequest,
        /// Node for its sessions, if it is new.
        node: Option<NodeId>,
    },
    /// A participant sends a request.
    Request {
        /// Socket of the participant.
        socket: SocketId,
        /// Echoed in the reply.
        id: Option<u32>,
        /// The request of the participant.
        request: Request,
    },
    /// A socket is gone.
    SocketGone(SocketId),
    /// The node answered the command of this session.
    Replied(SessionId, Result<Done, NodeError>),
    /// Something happened to a session or a track of a node.
    Node(NodeId, NodeEvent),
    /// The data plane of this node ended.
    NodeLost(NodeId),
    /// A node is connected.
    NodeSynced {
        /// The node whose state was read.
        node: NodeId,
        /// The sessions of the room that it holds, and no others.
        sessions: Vec<HeldSession>,
        /// The sessions that the node was asked for; `None` stands for all of them.
        asked: Option<Vec<SessionId>>,
        /// URLs of the node's TURN server.
        turn_urls: Arc<[String]>,
    },
    /// The admin API reads the room.
    Report(oneshot::Sender<RoomReport>),
}
