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
pub struct Time {
    /// Time of the monotonic clock.
    pub now: Instant,
    /// Wall clock, seconds since 1970.
    pub unix_s: u64,
}

/// An input of the actor.
#[derive(Debug)]
pub enum Input {
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
pub enum Effect {
    /// Append to the history. Answer: [`Answer::Appended`].
    Append(Append),
    /// Wait until the store has confirmed an event. Answer: [`Answer::Stored`].
    Await {
        /// Resolves when the store has the event.
        stored: oneshot::Receiver<()>,
        /// Offset of the event.
        offset: u64,
        /// Handed back with the result.
        then: Then,
    },
    /// Send a message outside the history to all servers of the room.
    Publish(Ephemeral),
    /// Read the history and sessions for a join. Answer: [`Answer::ReadForJoin`].
    ReadForJoin(JoinReads),
    /// Record in the store, after a pause, that this server serves the participant. Answer: [`Answer::Claimed`].
    Claim(ParticipantId),
    /// Open the room in the store again, and read the events after `offset`. Answer:
    /// [`Answer::ReadAgain`].
    ReadAgain {
        /// Epoch of the history that was read so far.
        epoch: Epoch,
        /// Offset of its last event.
        offset: u64,
    },
    /// Renew the presence of participants, and look for absent ones. Answer: [`Answer::Absent`].
    Presence(Vec<ParticipantId>),
    /// Send a command to a node. The result comes as [`RoomInput::Replied`].
    Call {
        /// The node that receives the command.
        node: NodeId,
        /// The session of the command.
        session: SessionId,
        /// The command to send.
        command: Command,
    },
    /// Become the owner of these sessions: this server's lease keeps them.
    TakeLease {
        /// The node that has the sessions.
        node: NodeId,
        /// The publish and subscribe session.
        sessions: [SessionId; 2],
    },
    /// Route events of a participant's sessions to this room, or stop that.
    RouteEvents {
        /// The participant of the sessions.
        participant: ParticipantId,
        /// True: route them to this room.
        here: bool,
    },
    /// Route audio levels of a track to this room, or stop that.
    RouteLevels {
        /// The track of the levels.
        track: TrackId,
        /// True: route them to this room.
        here: bool,
    },
}

/// What must be read for a join.
#[derive(Debug)]
pub struct JoinReads {
    /// Socket of the join.
    pub socket: SocketId,
    /// Last event that the client received: later events are read.
    pub seen: Option<(Epoch, u64)>,
    /// Sessions that this server takes over.
    pub claimed: Option<Sessions>,
}

/// The result of an effect.
#[derive(Debug)]
pub enum Answer {
    /// Result of the append, from [`Effect::Append`].
    Appended(Result<Appended, StoreError>),
    /// Whether the store has confirmed the event of [`Effect::Await`].
    Stored(Then, Result<u64, StoreError>),
    /// What was read for a join, from [`Effect::ReadForJoin`].
    ReadForJoin {
        /// Socket of the join.
        socket: SocketId,
        /// The history since the resume point.
        missed: Missed,
        /// Sessions of the participant on its node; `None`: the node does not answer.
        sessions: Option<Vec<HeldSession>>,
        /// The participant that this server took over, if the store does not know it yet.
        unclaimed: Option<ParticipantId>,
    },
    /// Whether the store knows the new server, from [`Effect::Claim`].
    Claimed {
        /// The participant that this server took over.
        participant: ParticipantId,
        /// False: the store does not answer.
        is_done: bool,
    },
    /// The history that was opened again, from [`Effect::ReadAgain`].
    ReadAgain(ReadAgain),
    /// Participants without presence and lease, from [`Effect::Presence`].
    Absent(Vec<Participant>),
}

/// What was read when the room was opened again.
#[derive(Debug)]
pub enum ReadAgain {
    /// The history continues with these events.
    Entries(Vec<Arc<Entry>>),
    /// The history started over.
    Restarted {
        /// Epoch of the new history.
        epoch: Epoch,
        /// Participants in the new history.
        roster: Roster,
        /// Events of the new history that readers did not receive.
        missed: MissedByRestart,
    },
}
