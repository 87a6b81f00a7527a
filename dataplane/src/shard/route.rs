//! Home of an address: a session here, or another shard.

use crate::key::{SessionIndex, SessionKey, ShardId};

/// Where datagrams from an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this session here.
    Local(SessionIndex),
    /// To a session on another shard.
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
