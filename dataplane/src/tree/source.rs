//! Sources and targets of a track's packets.

use crate::key::{LinkId, SessionIndex, ShardId, TrackKey};

/// How a track enters the node, on its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A session of this shard publishes the track.
    Session(SessionIndex),
    /// Another node sends the track over a link.
    Link(LinkId),
}

/// Receiver of a track's copies from its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Another shard of this node.
    Shard(ShardId),
    /// A link to another node.
    Link(LinkId),
}

/// Where a shard gets a track from. Needed layers and keyframe requests are sent there.
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

/// The home shard of a track from another node: the same result on every shard, spread evenly over all shards.
pub fn home_of_import(track: TrackKey, shards: u16) -> ShardId {
    // Fibonacci hashing: keys are sequential today, but this also spreads other keys.
    let hash = track.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ShardId((hash % u64::from(shards.max(1))) as u16)
}
