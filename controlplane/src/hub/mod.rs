//! All rooms of this server: finds or starts the task of a room, and delivers what belongs to it.
//!
//! The rooms' logic is in [`crate::room`]; this is what runs it on tokio.

mod dialect; // the words in which sockets are told
mod outbox; // a socket's bounded queue, as rooms see it
mod audience; // a room's sockets, and what all of them are told
mod input; // what a room's task is told
mod routes; // which room hears of what
mod directory; // finds a room's task
mod effect; // what goes into an actor, and what comes out
mod actor; // what a room and its sockets want done
mod read; // what is read for them
mod task; // does it

use std::sync::Arc;

pub use dialect::{Dialect, Frame};
pub use directory::Hub;
pub use input::RoomInput;
pub use outbox::{Ending, EndingReader, Outbox, OutboxReader, ToSocket, outbox};

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::room::RoomConfig;
use crate::store::Store;

/// The rooms of a server, none yet.
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
