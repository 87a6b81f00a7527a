//! What a room wants done; its driver does it.

use crate::history::Append;
use crate::history::Ephemeral;
use crate::ids::{ParticipantId, SessionId, TrackId};
use crate::node::Call;
use crate::signaling::{CloseCode, Frame};

/// A socket of this server; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// What the driver must do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Write to a socket.
    Send {
        /// Where to.
        socket: SocketId,
        /// What.
        frame: Frame,
    },
    /// Write to every socket that was told it is in.
    Tell {
        /// What.
        frame: Frame,
    },
    /// Write to these sockets, and `private` to every other that was told it is in: that has no hurry.
    Whisper {
        /// Where to.
        sockets: Vec<SocketId>,
        /// What.
        frame: Frame,
        /// What stands for it, so that offsets have no gaps.
        private: Frame,
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
    /// Append to the room's history, hand in all entries up to it, then [`Room::handle_appended`].
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
    /// Send a command; its result goes to [`Room::handle_replied`].
    Call {
        /// To hand back.
        session: SessionId,
        /// The command.
        call: Call,
    },
    /// These sessions are kept by this server's lease from now on.
    Take {
        /// Which; those that are no more do not matter.
        sessions: Vec<SessionId>,
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
        frame: Option<Frame>,
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
    Absent(ParticipantId),
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
