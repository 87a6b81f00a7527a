//! The `Store` trait: data that outlives a signaling server. A room's history, its participants and
//! their presence.
//!
//! [`memory`] is the store inside one process. [`redis`] (one server, Sentinel or a cluster)
//! implements the same trait. Both pass the same [`suite`] of tests.

pub mod memory; // store of a single server
pub mod redis; // store shared by several servers
mod history_log; // latest events of a room, and its readers in this process
pub mod suite; // tests for every implementation

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::history::{Append, Entry, Ephemeral, Missed, Participant, Restart};
use crate::ids::{Epoch, ParticipantId, RoomName};

/// An open room: its state at the moment of opening, and a channel with every later event.
#[derive(Debug)]
pub struct Opened {
    /// Epoch of the room's history.
    pub epoch: Epoch,
    /// Offset of the latest event.
    pub offset: u64,
    /// Participants after the event at `offset`.
    pub participants: Vec<Participant>,
    /// Set if the history started over while readers of this server had it open.
    pub restart: Option<Restart>,
    /// Every later event, in order. The channel closes if the reader is too slow or the history
    /// started over. Then the caller opens the room again and reads [`Store::since`].
    pub updates: mpsc::Receiver<RoomUpdate>,
}

/// An event that was appended.
#[derive(Debug)]
pub struct Appended {
    /// The event's offset in the history.
    pub offset: u64,
    /// Whether the event is in the store already.
    pub stored: Stored,
}

/// Whether an event is in the store already.
#[derive(Debug)]
pub enum Stored {
    /// The store confirmed the event.
    Yes,
    /// The store is unavailable; the event waits on this server. Resolves when the store has the
    /// event; fails if the event is lost.
    Later(oneshot::Receiver<()>),
}

/// Message to a reader of a room.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomUpdate {
    /// The next event of the history.
    Entry(Arc<Entry>),
    /// A message outside the history: it has no offset and reaches only connected participants.
    Message(Arc<Ephemeral>),
    /// Another server serves this participant from now on.
    Taken(ParticipantId),
}

/// Why a method of the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The room is not open in this store.
    #[error("room '{0}' is not open")]
    NoRoom(RoomName),
    /// The store cannot be reached. A later attempt may succeed.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The store holds or returned data in an unknown format. Repeating does not help.
    #[error("store: {0}")]
    Broken(String),
    /// Another server serves the participant, or has already removed it.
    #[error("participant '{0}' is another server's")]
    NotOurs(ParticipantId),
}

/// The future that a method of the store returns.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// State shared by all signaling servers, so that any of them can serve any participant.
pub trait Store: Send + Sync + 'static {
    /// Opens a room. Creates it, with a new epoch, if it does not exist.
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened>;

    /// In one atomic step: gives the event the next offset, keeps it, changes the participants and
    /// sends the event to every reader. Concurrent calls get their offsets in the order in which
    /// their futures were first polled.
    fn append_event<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Appended>;

    /// [`Store::append_event`], returning only the offset.
    fn append<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, u64> {
        Box::pin(async move { Ok(self.append_event(room, append).await?.offset) })
    }

    /// Sends a message to every current reader, outside the history.
    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError>;

    /// The events after `offset` of `epoch`.
    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed>;

    /// Marks participants as present for `time`. A participant that was never touched never becomes
    /// absent.
    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()>;

    /// Participants with expired presence: their server stopped touching them.
    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>>;

    /// Makes this server the participant's server. The previous server gets [`RoomUpdate::Taken`].
    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()>;

    /// Why writes fail now; `None` if they work.
    fn degraded(&self) -> Option<String> {
        None
    }

    /// Deletes the room, and ends its epoch, if it has no participants and no other reader.
    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()>;
}
