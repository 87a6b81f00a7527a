//! Where the packets of a track come from and go to.

use crate::key::{LinkId, SessionIndex, ShardId, TrackKey};

/// How a track enters the node, on its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A session of this shard publishes it.
    Session(SessionIndex),
    /// Another node sends it.
    Link(LinkId),
}

/// Who gets copies of a track from its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Another shard of this node.
    Shard(ShardId),
    /// A link to another node.
    Link(LinkId),
}

/// Where a shard gets a track from: whom it tells what it needs, and asks for keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The publisher's session on this shard.
    Session(SessionIndex),
    /// The home of the track.
    Shard(ShardId),
    /// A link to another node.
    Link(LinkId),
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Session(session) => Self::Session(session),
            Origin::Link(link) => Self::Link(link),
        }
    }
}

/// The home of a track that another node sends: the same shard for everybody who asks, and all shards alike often.
pub fn home_of_import(track: TrackKey, shards: u16) -> ShardId {
    // Fibonacci hashing: keys are counted up, so their low bits alone would do, but nobody promises that.
    let hash = track.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ShardId((hash % u64::from(shards.max(1))) as u16)
}
