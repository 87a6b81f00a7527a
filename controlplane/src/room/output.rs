//! What a room wants done; its driver does it.

use super::{CloseCode, Notice};
use crate::fleet::Command;
use crate::history::{Append, Ephemeral, Participant};
use crate::ids::{Generation, NodeId, ParticipantId, SessionId, TrackId};

/// A socket of this server; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// What the driver must do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Tell one socket.
    Send {
        /// Where to.
        socket: SocketId,
        /// What.
        notice: Notice,
    },
    /// Tell every socket that was told that it is in.
    Tell {
        /// What.
        notice: Notice,
    },
    /// Tell these sockets, and `withheld` to every other that was told that it is in: that has no hurry.
    Whisper {
        /// Where to.
        sockets: Vec<SocketId>,
        /// What.
        notice: Notice,
        /// What stands for it, so that offsets have no gaps.
        withheld: Notice,
    },
    /// End a socket's conversation.
    Close {
        /// Which.
        socket: SocketId,
        /// Why.
        code: CloseCode,
        /// Why, in words.
        reason: &'static str,
    },
    /// Append to the room's history, hand in all entries up to it, then [`super::Room::handle_appended`].
    Append {
        /// The event.
        append: Append,
        /// To hand back.
        then: Then,
    },
    /// Tell whoever is in the room, on other servers too; it is no part of the history.
    Publish {
        /// What.
        message: Ephemeral,
    },
    /// Send a command to a node; its result goes to [`super::Room::handle_replied`].
    Call {
        /// Which node.
        node: NodeId,
        /// To hand back.
        session: SessionId,
        /// The command.
        command: Command,
    },
    /// These sessions of a node are kept by this server's lease from now on.
    Take {
        /// Which node.
        node: NodeId,
        /// Which; those that are no more do not matter.
        sessions: [SessionId; 2],
    },
    /// From now on events of this participant's sessions belong here, or no more.
    Serve {
        /// Whose sessions.
        participant: ParticipantId,
        /// Whether they belong here.
        here: bool,
    },
    /// From now on levels of this track belong here, or no more.
    Hear {
        /// Which track.
        track: TrackId,
        /// Whether its levels belong here.
        here: bool,
    },
}

/// What follows once an event is part of the history.
#[derive(Debug, PartialEq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// The request that caused it is answered.
    Reply {
        /// Where to.
        socket: SocketId,
        /// For the error, should the store fail.
        id: Option<u32>,
        /// The answer; absent when none was asked for.
        notice: Option<Notice>,
    },
    /// The request that caused it is answered with `ok` once the store has it: it may be numbered before.
    Confirm {
        /// Where to.
        socket: SocketId,
        /// Echoed.
        id: Option<u32>,
    },
    /// The participant's time is up.
    Left(ParticipantId),
    /// The participant of another server is out: its sessions, should there be any, are nobody's.
    Absent(Sessions),
    /// The participant is in.
    Joined {
        /// Who.
        participant: ParticipantId,
        /// Echoed.
        id: Option<u32>,
        /// When, seconds since 1970.
        unix_s: u64,
    },
}

/// Where a participant's sessions are, whoever serves them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sessions {
    /// Whose.
    pub participant: ParticipantId,
    /// On which node.
    pub node: NodeId,
    /// Which of those that the participant had.
    pub generation: Generation,
}

impl Sessions {
    /// Of a participant as it is in the history.
    pub fn of(participant: &Participant) -> Self {
        Self {
            participant: participant.participant.clone(),
            node: participant.node.clone(),
            generation: participant.generation,
        }
    }

    /// Their names.
    pub fn ids(&self) -> [SessionId; 2] {
        self.participant.sessions(self.generation)
    }
}
