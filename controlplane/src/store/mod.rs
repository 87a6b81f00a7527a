//! Data that must outlive a signaling server: a room's history, its participants, their presence.
//!
//! [`memory`] is the embedded implementation; [`redis`], standalone or a cluster, keeps to the same trait
//! and runs the same [`suite`].

pub mod memory; // store of a single server
pub mod redis; // store shared by several servers
mod record; // a room's history and its readers in this process
pub mod suite; // tests for every implementation

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::history::{Append, Entry, Ephemeral, Missed, Participant, Restart};
use crate::ids::{Epoch, ParticipantId, RoomName};

/// A room, and all that happens in it from then on.
#[derive(Debug)]
pub struct Opened {
    /// Epoch of the room's history.
    pub epoch: Epoch,
    /// Number of the latest event.
    pub offset: u64,
    /// Participants after that event.
    pub participants: Vec<Participant>,
    /// Set if the history started over while readers of this server had it open.
    pub restart: Option<Restart>,
    /// Every later event in order. Ends when the reader is too slow, or when the history started over:
    /// open the room again and read [`Store::since`].
    pub news: mpsc::Receiver<News>,
}

/// An event that has its number.
#[derive(Debug)]
pub struct Placed {
    /// Offset that the event got.
    pub offset: u64,
    /// Whether the store has the event.
    pub stored: Stored,
}

/// Whether the store has an event.
#[derive(Debug)]
pub enum Stored {
    /// The store has it.
    Yes,
    /// The store cannot be told now. Resolves when it was; fails when it never will be.
    Later(oneshot::Receiver<()>),
}

/// Message to a reader of a room.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The next event of the history.
    Entry(Arc<Entry>),
    /// A message outside the history: it has no offset and reaches only connected participants.
    Message(Arc<Ephemeral>),
    /// Another server_id serves this participant from now on.
    Taken(ParticipantId),
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The room is not open in this store.
    #[error("room '{0}' is not open")]
    NoRoom(RoomName),
    /// The store cannot be reached; later it may be.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Trying again does not help: what the store holds or says is not ours.
    #[error("store: {0}")]
    Broken(String),
    /// Another server_id serves the participant, or has seen to it.
    #[error("participant '{0}' is another server's")]
    NotOurs(ParticipantId),
}

/// The result of a store's method.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Shared state that makes a signaling server stateless.
pub trait Store: Send + Sync + 'static {
    /// Opens a room, with a new epoch when it does not exist.
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened>;

    /// Gives the event the next offset, keeps it, changes the participants and tells every reader,
    /// in one step. Events that are placed at once get their offsets in the order in which the futures were first polled.
    fn place<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Placed>;

    /// The same; returns only the offset.
    fn append<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, u64> {
        Box::pin(async move { Ok(self.place(room, append).await?.offset) })
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

    /// Keeps participants present for `time`; one that was never touched is never absent.
    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()>;

    /// Participants with expired presence: their server died with them.
    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>>;

    /// Makes this server the participant's server; the previous one is told.
    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()>;

    /// The reason why writes are not possible now; `None` if they are.
    fn degraded(&self) -> Option<String> {
        None
    }

    /// Forgets the room if it is empty and has no other reader; its epoch ends.
    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()>;
}
