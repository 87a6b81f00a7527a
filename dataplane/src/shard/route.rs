//! The session of an address: on this shard, or on another.

use crate::key::{SessionIndex, SessionKey, ShardId};

/// Destination of datagrams from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A session on this shard.
    Local(SessionIndex),
    /// A session on another shard.
    Foreign(ForeignSession),
}

/// A session on another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignSession {
    /// The shard that has the session.
    pub home: ShardId,
    /// Key of the session in the data plane.
    pub session: SessionKey,
}
