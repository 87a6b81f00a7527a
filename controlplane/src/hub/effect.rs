//! Inputs and effects of the actor of a room.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::input::RoomInput;
use crate::fleet::{Command, HeldSession};
use crate::history::{Append, Entry, Ephemeral, Missed, MissedByRestart, Participant, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, SessionId, TrackId};
use crate::room::{Sessions, SocketId, Then};
use crate::store::{News, Placed, StoreError};

/// Time of an event, in both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) now: Instant,
    /// Wall clock, seconds since 1970.
    pub(super) unix_s: u64,
}

/// Input of a room's actor.
#[derive(Debug)]
pub(super) enum Input {
    /// An input from sockets, nodes or the admin API.
    Room(RoomInput),
    /// An event of the store's reader; `None` when it ended.
    News(Option<News>),
    /// The result of an effect.
    Answer(Answer),
    /// Renew the presence of participants in the store.
    Presence,
    /// The next timeout has come.
    Timeout,
}

/// Effect of a room's actor.
#[derive(Debug)]
pub(super) enum Effect {
    /// Append to the history. Answer: [`Answer::Placed`].
    Append(Append),
    /// Hear when the store has the event. Answer: [`Answer::Stored`].
    Await {
        stored: oneshot::Receiver<()>,
        offset: u64,
        then: Then,
    },
    /// Tell other servers, without a history.
    Publish(Ephemeral),
    /// Read what a join needs. Answer: [`Answer::ReadForJoin`].
    ReadForJoin(JoinReads),
    /// Open the history again and read the events after this offset. Answer: [`Answer::ReadAgain`].
    ReadAgain { epoch: Epoch, offset: u64 },
    /// Renew the presence of participants, and ask for absent ones. Answer: [`Answer::Absent`].
    Presence(Vec<ParticipantId>),
    /// Send a command. The answer comes as [`RoomInput::Replied`].
    Call {
        node: NodeId,
        session: SessionId,
        command: Command,
    },
    /// These sessions are kept by this server's lease.
    Take {
        node: NodeId,
        sessions: [SessionId; 2],
    },
    /// Events of a participant's sessions belong here, or no more.
    Serve {
        participant: ParticipantId,
        here: bool,
    },
    /// Levels of a track belong here, or no more.
    Hear { track: TrackId, here: bool },
}

/// Reads for a join.
#[derive(Debug)]
pub(super) struct JoinReads {
    pub(super) socket: SocketId,
    /// The history after this.
    pub(super) seen: Option<(Epoch, u64)>,
    /// Sessions that go on at this server from now on.
    pub(super) claimed: Option<Sessions>,
}

/// Result of an effect.
#[derive(Debug)]
pub(super) enum Answer {
    Placed(Result<Placed, StoreError>),
    Stored(Then, Result<u64, StoreError>),
    ReadForJoin {
        socket: SocketId,
        missed: Missed,
        sessions: Vec<HeldSession>,
    },
    ReadAgain(ReadAgain),
    Absent(Vec<Participant>),
}

/// Continuation of a history that was opened again.
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
