//! The store on Redis: several signaling servers serve the same rooms. Redis is one server,
//! Sentinel or a cluster.
//!
//! Each method runs one Lua script in the room's slot. Events are published to the room's
//! partition. Every server keeps a [`RoomReplica`] of the rooms that it reads, and requests events that
//! it missed. While Redis is unavailable, the server continues with its replica; afterwards both
//! are reconciled ([`reconcile`]).

mod shared; // state that all methods share
mod append; // appends events, several per call
mod reconcile; // compares a room with Redis after an outage, a failover or a gap
mod offline_log; // events that Redis does not have yet
mod maintenance; // background tasks: pushes, probes, subscriptions, gaps
mod link; // connections to the server of a slot
mod message; // published messages
mod room_replica; // a server's copy of a room
mod partition; // partition and slot of a room
mod pipeline; // one connection with pipelined commands
mod rights; // needed rights of the Redis user
mod script; // Lua scripts
mod sentinel; // master lookup by Sentinel
mod sentinel_url; // URLs of sentinels
mod server_url; // URLs of Redis servers
mod server; // one server, and its reconnects
mod servers; // all servers, and their connection parameters
mod protocol_check; // finds out whether a server uses TLS or plain Redis
mod subscriptions; // shard channel subscriptions
mod topology; // servers of the slots
mod errors; // errors of Redis servers

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::errors::LinkError;
use self::link::Link;
pub use self::sentinel_url::{is_encrypted as are_encrypted_sentinels, is_one as are_sentinels};
pub use self::servers::RedisServers;
use self::servers::Servers;
use self::shared::Shared;
use self::subscriptions::Subscriptions;
use super::{Appended, Opened, Store, StoreError, StoreFuture};
use crate::entropy;
use crate::history::{Append, Ephemeral, Missed, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::metrics::StoreMetrics;

/// The store on Redis. Clones share connections and rooms.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

/// Length of a server's random id.
const SERVER_ID_CHARS: usize = 16;

impl RedisStore {
    /// Connects to `servers`. Fails if a server refuses for good or cannot be trusted. Servers that
    /// cannot be reached are tried again in the background.
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
                shared.link.note_trouble(&error);
                let why = error.to_string();
                if let Some(why) = shared.link.wrong_protocol().await {
                    return Err(StoreError::Broken(why));
                }
                tracing::warn!(%why, "store: unavailable, trying again");
            }
        }
        maintenance::start(&shared, pushed);
        Ok(Self { shared })
    }
}

impl Store for RedisStore {
    fn open<'a>(&'a self, room: &'a RoomName) -> StoreFuture<'a, Opened> {
        Box::pin(self.shared.open(room))
    }

    fn append_event<'a>(&'a self, room: &'a RoomName, append: Append) -> StoreFuture<'a, Appended> {
        Box::pin(self.shared.append_event(room, append))
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
            // A wrong configuration can be corrected while the process runs.
            LinkError::Unavailable(why) | LinkError::Insecure(why) | LinkError::Refused(why) => {
                Self::Unavailable(why)
            }
            LinkError::Broken(why) => Self::Broken(why),
        }
    }
}
