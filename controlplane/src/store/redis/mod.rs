//! The store on Redis, standalone or a cluster: many servers serve the same rooms.
//!
//! Each method is one script in the room's slot. What happens is published to the room's partition, and
//! every server keeps a [`Mirror`] of the rooms it reads: numbers that are missing are asked for, and while
//! Redis cannot be reached the mirror goes on by itself and is reconciled afterwards ([`heal`]).

mod shared; // what the methods share
mod append; // events to the store, many at once
mod heal; // after an outage, a failover, or a gap
mod island; // what the store could not be told yet
mod keeper; // what is looked after all the time
mod link; // connections and the way to a slot
mod message; // what is published
mod mirror; // what a server knows of a room
mod partition; // where a room is
mod pipeline; // one connection, commands that wait sent together
mod rights; // what the user must be permitted
mod script; // what is done in one step
mod sentinel; // master lookup by Sentinel
mod sentinel_url; // how they are named
mod server_url; // how one server is named
mod server; // one server, and when it is tried again
mod servers; // which there are, and how they are spoken to
mod stranger; // what a server speaks that is not as named
mod subscriptions; // channels a server listens to
mod topology; // which server has which slot
mod trouble; // what goes wrong, and what it means

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::link::Link;
pub use self::sentinel_url::{is_encrypted as are_encrypted_sentinels, is_one as are_sentinels};
pub use self::servers::RedisServers;
use self::servers::Servers;
use self::shared::Shared;
use self::subscriptions::Subscriptions;
use self::trouble::LinkError;
use super::{Opened, Placed, Store, StoreError, StoreFuture};
use crate::entropy;
use crate::history::{Append, Ephemeral, Missed, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

/// Characters of a server's id among the servers that share the store.
const SERVER_ID_CHARS: usize = 16;

impl RedisStore {
    /// Connects to `servers`. One that says no for good, or cannot be trusted, is an error; one that cannot
    /// be reached will be.
    pub async fn connect(
        servers: &RedisServers,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let server_id = entropy::alphanumeric(SERVER_ID_CHARS);
        let servers =
            Servers::read(servers).map_err(|error| StoreError::Broken(error.to_string()))?;
        let link = Arc::new(Link::new(servers, server_id.clone()));
        let (pushes, pushed) = mpsc::unbounded_channel();
        let subscriptions = Subscriptions::new(Arc::clone(&link), pushes);
        let shared = Arc::new(Shared::new(server_id, link, subscriptions, metrics));
        match shared.link.probe().await {
            Ok(()) => {}
            Err(LinkError::Refused(why) | LinkError::Insecure(why) | LinkError::Broken(why)) => {
                return Err(StoreError::Broken(why));
            }
            Err(error @ LinkError::Unavailable(_)) => {
                shared.link.note(&error);
                let why = error.to_string();
                if let Some(why) = shared.link.mistaken().await {
                    return Err(StoreError::Broken(why));
                }
                tracing::warn!(%why, "store: unavailable, trying on");
            }
        }
        keeper::start(&shared, pushed);
        Ok(Self { shared })
    }
}

impl Store for RedisStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        Box::pin(self.shared.open(room))
    }

    fn place<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Placed> {
        Box::pin(self.shared.place(room, append))
    }

    fn publish(&self, room: &RoomName, message: Ephemeral) -> Result<(), StoreError> {
        self.shared.publish(room, message)
    }

    fn since<'a>(
        &'a self,
        room: &'a RoomName,
        epoch: &'a Epoch,
        offset: u64,
    ) -> StoreFuture<'a, Missed> {
        Box::pin(self.shared.since(room, epoch, offset))
    }

    fn touch<'a>(
        &'a self,
        room: &'a RoomName,
        participants: &'a [ParticipantId],
        time: Duration,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.touch(room, participants, time))
    }

    fn absent<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Vec<Participant>> {
        Box::pin(self.shared.absent(room))
    }

    fn claim<'a>(
        &'a self,
        room: &'a RoomName,
        participant: &'a ParticipantId,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.claim(room, participant))
    }

    fn degraded(&self) -> Option<String> {
        self.shared.link.trouble()
    }

    fn close<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, ()> {
        Box::pin(self.shared.close(room))
    }
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        match error {
            // What is set up otherwise than at start can be put right.
            LinkError::Unavailable(why) | LinkError::Insecure(why) | LinkError::Refused(why) => {
                Self::Unavailable(why)
            }
            LinkError::Broken(why) => Self::Broken(why),
        }
    }
}
