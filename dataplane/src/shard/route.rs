//! Where datagrams from an address go.

use crate::key::{SessionKey, ShardId};

/// Where datagrams from an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this session here.
    Local(usize),
    /// To a session on another shard.
    Foreign {
        /// Which shard.
        home: ShardId,
        /// Which session.
        session: SessionKey,
    },
}
