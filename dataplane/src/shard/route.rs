//! Home of an address: a session here, or another shard.

use crate::key::{SessionIndex, SessionKey, ShardId};

/// Home of datagrams from an address.
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
    /// Name of the session inside the data plane.
    pub session: SessionKey,
}
