//! Outputs of a room, which its driver executes.

use super::{CloseCode, Notice};
use crate::fleet::Command;
use crate::history::{Append, Ephemeral, Participant};
use crate::ids::{Generation, NodeId, ParticipantId, SessionId, TrackId};

/// A socket of this server; numbers are not used twice.
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
    /// Tell every socket that was told that it is in.
    Tell {
        /// The notice to send.
        notice: Notice,
    },
    /// Tell these sockets, and `withheld` to every other that was told that it is in: that has no hurry.
    Whisper {
        /// Sockets that receive the notice.
        sockets: Vec<SocketId>,
        /// The notice to send.
        notice: Notice,
        /// Substitute for other sockets, so that offsets have no gaps.
        withheld: Notice,
    },
    /// End a socket's conversation.
    Close {
        /// The socket to close.
        socket: SocketId,
        /// Close code of the WebSocket.
        code: CloseCode,
        /// Reason of the close, for people.
        reason: &'static str,
    },
    /// Append to the room's history, hand in all entries up to it, then [`super::Room::handle_appended`].
    Append {
        /// The event to append.
        append: Append,
        /// What to do after the append; handed back with it.
        then: Then,
    },
    /// Send a message to the participants in the room, on other servers too; it is not part of the history.
    Publish {
        /// The message without offset.
        message: Ephemeral,
    },
    /// Send a command to a node; its result goes to [`super::Room::handle_replied`].
    Call {
        /// The node that receives the command.
        node: NodeId,
        /// The session of the command; handed back with the result.
        session: SessionId,
        /// The command to send.
        command: Command,
    },
    /// These sessions of a node are kept by this server's lease from now on.
    Take {
        /// The node that has the sessions.
        node: NodeId,
        /// The sessions; ended ones are ignored.
        sessions: [SessionId; 2],
    },
    /// Whether events of this participant's sessions go to this room.
    Serve {
        /// The participant of the sessions.
        participant: ParticipantId,
        /// True: they go to this room.
        here: bool,
    },
    /// Whether audio levels of this track go to this room.
    Hear {
        /// The track of the levels.
        track: TrackId,
        /// True: they go to this room.
        here: bool,
    },
}

/// Continuation of an append.
#[derive(Debug, PartialEq)]
pub enum Then {
    /// There is nothing else to do.
    Nothing,
    /// The request that caused it is answered.
    Reply {
        /// Socket that sent the request.
        socket: SocketId,
        /// Id for the error, if the store fails.
        id: Option<u32>,
        /// The answer; absent when none was asked for.
        notice: Option<Notice>,
    },
    /// The request that caused it is answered with `ok` once the store has it: it may be numbered before.
    Confirm {
        /// Socket that sent the request.
        socket: SocketId,
        /// The id that `ok` repeats.
        id: Option<u32>,
    },
    /// The participant's time is up.
    Left(ParticipantId),
    /// A participant of another server is removed: its remaining sessions have no owner.
    Absent(Sessions),
    /// The participant is in.
    Joined {
        /// The participant that joined.
        participant: ParticipantId,
        /// The id that `joined` repeats.
        id: Option<u32>,
        /// Time of the join, seconds since 1970.
        unix_s: u64,
    },
}

/// Sessions of a participant on any server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sessions {
    /// The participant that has the sessions.
    pub participant: ParticipantId,
    /// The node that has the sessions.
    pub node: NodeId,
    /// Generation of the sessions.
    pub generation: Generation,
}

impl Sessions {
    /// Sessions of a participant in the history.
    pub fn of(participant: &Participant) -> Self {
        Self {
            participant: participant.participant.clone(),
            node: participant.node.clone(),
            generation: participant.generation,
        }
    }

    /// Names of the publish and subscribe sessions.
    pub fn ids(&self) -> [SessionId; 2] {
        self.participant.sessions(self.generation)
    }
}
