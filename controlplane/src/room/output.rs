//! Outputs of a room. The driver (`hub/actor.rs`) executes them.

use super::{CloseCode, Notice};
use crate::fleet::Command;
use crate::history::{Append, Ephemeral, Participant};
use crate::ids::{Generation, NodeId, ParticipantId, SessionId, TrackId};

/// Id of a socket of this server; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// Output of a room for its driver.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send a notice to one socket.
    Send {
        /// Socket that receives the notice.
        socket: SocketId,
        /// The notice to send.
        notice: Notice,
    },
    /// Send a notice to every socket that got `joined`.
    Broadcast {
        /// The notice to send.
        notice: Notice,
    },
    /// Send a notice to `sockets`, and `withheld` to every other socket that got `joined`. The
    /// placeholder is not urgent.
    SendPrivate {
        /// Sockets that receive the notice.
        sockets: Vec<SocketId>,
        /// The notice to send.
        notice: Notice,
        /// Placeholder for other sockets, because offsets have no gaps.
        withheld: Notice,
    },
    /// Close a socket, after its queued messages.
    Close {
        /// The socket to close.
        socket: SocketId,
        /// Close code of the WebSocket.
        code: CloseCode,
        /// Reason in the close frame.
        reason: &'static str,
    },
    /// Append an event to the history. The driver first hands in all entries up to it, then calls
    /// [`super::Room::handle_appended`].
    Append {
        /// The event to append.
        append: Append,
        /// What to do after the append; handed back with it.
        then: Then,
    },
    /// Send a message outside the history to participants on all servers.
    Publish {
        /// The message without offset.
        message: Ephemeral,
    },
    /// Send a command to a node. Its result goes to [`super::Room::handle_replied`].
    Call {
        /// The node that receives the command.
        node: NodeId,
        /// The session of the command; handed back with the result.
        session: SessionId,
        /// The command to send.
        command: Command,
    },
    /// Renew the leases of these sessions from now on: this server is their owner.
    TakeLease {
        /// The node that has the sessions.
        node: NodeId,
        /// The publish and subscribe session. Sessions that have ended are ignored.
        sessions: [SessionId; 2],
    },
    /// Route events of a participant's sessions to this room, or stop that.
    RouteEvents {
        /// The participant of the sessions.
        participant: ParticipantId,
        /// True: route them to this room.
        here: bool,
    },
    /// Route the audio levels of a track to this room, or stop that.
    RouteLevels {
        /// The track of the levels.
        track: TrackId,
        /// True: route them to this room.
        here: bool,
    },
}

/// What follows an append, see [`super::Room::handle_appended`].
#[derive(Debug, PartialEq)]
pub enum Then {
    /// The append needs no further action.
    Nothing,
    /// Answer the request that caused the append.
    Reply {
        /// Socket that sent the request.
        socket: SocketId,
        /// Id in the error, if the append fails.
        id: Option<u32>,
        /// The reply; `None` if the request had no id.
        notice: Option<Notice>,
    },
    /// Answer the request with `ok` when the store has confirmed the event. During an outage the
    /// event gets an offset earlier.
    Confirm {
        /// Socket that sent the request.
        socket: SocketId,
        /// The id that `ok` repeats.
        id: Option<u32>,
    },
    /// The participant's client did not reconnect in time.
    Left(ParticipantId),
    /// A participant of a dead server is removed: close its sessions.
    Absent(Sessions),
    /// Send `joined` to the new participant.
    Joined {
        /// The participant that joined.
        participant: ParticipantId,
        /// The id that `joined` repeats.
        id: Option<u32>,
        /// Time of the join, seconds since 1970.
        unix_s: u64,
    },
}

/// Names the two sessions of a participant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sessions {
    /// The participant of the sessions.
    pub participant: ParticipantId,
    /// The node that has the sessions.
    pub node: NodeId,
    /// Generation of the sessions.
    pub generation: Generation,
}

impl Sessions {
    /// The sessions of a participant in the roster.
    pub fn of(participant: &Participant) -> Self {
        Self {
            participant: participant.participant.clone(),
            node: participant.node.clone(),
            generation: participant.generation,
        }
    }

    /// Ids of the publish and subscribe session.
    pub fn ids(&self) -> [SessionId; 2] {
        self.participant.sessions(self.generation)
    }
}
