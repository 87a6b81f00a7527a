//! Inputs of a room's task.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::outbox::Outbox;
use crate::fleet::{Done, HeldSession, NodeError, NodeEvent};
use crate::ids::{NodeId, SessionId};
use crate::room::{JoinRequest, Request, RoomReport, SocketId};

/// An input from a socket, a node or the admin API.
#[derive(Debug)]
pub enum RoomInput {
    /// A client joins the room, or resumes.
    Join {
        /// Socket of the client.
        socket: SocketId,
        /// Queue of messages to the socket.
        outbox: Outbox,
        /// The join, with a valid token.
        request: JoinRequest,
        /// Node for the sessions of a new participant.
        node: Option<NodeId>,
    },
    /// A request of a participant.
    Request {
        /// Socket of the participant.
        socket: SocketId,
        /// Id of the request, repeated in the reply.
        id: Option<u32>,
        /// The request of the participant.
        request: Request,
    },
    /// A socket has closed.
    SocketGone(SocketId),
    /// Result of the command in flight of this session.
    Replied(SessionId, Result<Done, NodeError>),
    /// Event of a node about a session or a track.
    Node(NodeId, NodeEvent),
    /// The data plane of this node ended.
    NodeLost(NodeId),
    /// A node is connected and its state was read.
    NodeSynced {
        /// The node whose state was read.
        node: NodeId,
        /// The reported sessions. The node has no other sessions of the room; if `asked` is `Some`,
        /// it has no other sessions of `asked`.
        sessions: Vec<HeldSession>,
        /// The sessions that the node was asked for; `None`: all.
        asked: Option<Vec<SessionId>>,
        /// TURN URLs of the node (RFC 7065).
        turn_urls: Arc<[String]>,
    },
    /// The admin API reads the room.
    Report(oneshot::Sender<RoomReport>),
}
