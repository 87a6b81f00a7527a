//! Inputs and effects of a room's actor ([`super::actor`]).

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::input::RoomInput;
use crate::fleet::{Command, HeldSession};
use crate::history::{Append, Entry, Ephemeral, Missed, MissedByRestart, Participant, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, SessionId, TrackId};
use crate::room::{Sessions, SocketId, Then};
use crate::store::{Appended, RoomUpdate, StoreError};

/// Time of an input, by two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// Time of the monotonic clock.
    pub(super) now: Instant,
    /// Wall clock, seconds since 1970.
    pub(super) unix_s: u64,
}

/// An input of the actor.
#[derive(Debug)]
pub(super) enum Input {
    /// An input from sockets, nodes or the admin API.
    Room(RoomInput),
    /// The next event of the store's reader; `None`: the reader ended.
    Update(Option<RoomUpdate>),
    /// The result of an effect.
    Answer(Answer),
    /// Renew the presence of participants in the store now.
    Presence,
    /// The time of [`super::actor::Actor::poll_timeout`] has come.
    Timeout,
}

/// An effect that the task executes.
#[derive(Debug)]
pub(super) enum Effect {
    /// Append to the history. Answer: [`Answer::Appended`].
    Append(Append),
    /// Wait until the store has confirmed an event. Answer: [`Answer::Stored`].
    Await {
        stored: oneshot::Receiver<()>,
        offset: u64,
        then: Then,
    },
    /// Send a message outside the history to all servers of the room.
    Publish(Ephemeral),
    /// Read the history and sessions for a join. Answer: [`Answer::ReadForJoin`].
    ReadForJoin(JoinReads),
    /// Open the room in the store again, and read the events after `offset`. Answer:
    /// [`Answer::ReadAgain`].
    ReadAgain { epoch: Epoch, offset: u64 },
    /// Renew the presence of participants, and look for absent ones. Answer: [`Answer::Absent`].
    Presence(Vec<ParticipantId>),
    /// Send a command to a node. The result comes as [`RoomInput::Replied`].
    Call {
        node: NodeId,
        session: SessionId,
        command: Command,
    },
    /// Become the owner of these sessions: this server's lease keeps them.
    TakeLease {
        node: NodeId,
        sessions: [SessionId; 2],
    },
    /// Route events of a participant's sessions to this room, or stop that.
    RouteEvents {
        participant: ParticipantId,
        here: bool,
    },
    /// Route audio levels of a track to this room, or stop that.
    RouteLevels { track: TrackId, here: bool },
}

/// What must be read for a join.
#[derive(Debug)]
pub(super) struct JoinReads {
    pub(super) socket: SocketId,
    /// Last event that the client received: later events are read.
    pub(super) seen: Option<(Epoch, u64)>,
    /// Sessions that this server takes over.
    pub(super) claimed: Option<Sessions>,
}

/// The result of an effect.
#[derive(Debug)]
pub(super) enum Answer {
    Appended(Result<Appended, StoreError>),
    Stored(Then, Result<u64, StoreError>),
    ReadForJoin {
        socket: SocketId,
        missed: Missed,
        sessions: Vec<HeldSession>,
    },
    ReadAgain(ReadAgain),
    Absent(Vec<Participant>),
}

/// What was read when the room was opened again.
#[derive(Debug)]
pub(super) enum ReadAgain {
    /// The history continues with these events.
    Entries(Vec<Arc<Entry>>),
    /// The history started over.
    Restarted {
        epoch: Epoch,
        roster: Roster,
        missed: MissedByRestart,
    },
}
