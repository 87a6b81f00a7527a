//! All rooms of this server: runs the rooms' logic ([`crate::room`]) on tokio, one task for each
//! room.

mod dialect; // message formats of sockets
mod outbox; // bounded queue of a socket
mod audience; // sockets of a room, and their common messages
mod input; // inputs of a room's task
mod routes; // routing of events to rooms
mod directory; // finds or starts a room's task
mod effect; // inputs and effects of an actor
mod actor; // sans-IO state of a room and its sockets
mod absence; // participants without a server
mod read; // reads of the store and of nodes
mod task; // tokio task that runs an actor

use std::sync::Arc;

pub use absence::{NodeSessions, sessions_of, unleased};
pub use actor::Actor;
pub use dialect::{Dialect, Frame};
pub use directory::Hub;
pub use effect::{Answer, Effect, Input, JoinReads, ReadAgain, Time};
pub use input::RoomInput;
pub use outbox::{Ending, EndingReader, Outbox, OutboxReader, ToSocket, outbox};
pub use routes::{Routes, sessions_by_room};

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::room::RoomConfig;
use crate::store::Store;

/// A hub without rooms.
pub fn new(
    store: Arc<dyn Store>,
    fleet: Arc<Fleet>,
    room_config: Arc<RoomConfig>,
    metrics: Arc<Metrics>,
) -> Arc<Hub> {
    Hub::new(store, fleet, room_config, metrics, task::start)
}

#[cfg(test)]
mod tests;
