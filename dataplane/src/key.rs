//! Identifiers of shards, links, sessions, tracks and layers inside this process.

use std::fmt;

/// A shard of the node: a thread pinned to one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A link to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// Key of a session in the data plane; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// Key of a published track in the data plane; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TrackKey(pub u64);

/// Index of a session in the table of its shard; reused after the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionIndex(pub usize);

/// Index of a subscription in its session; reused after the subscription has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionIndex(pub u32);

/// A subscription of a session on this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberIndex {
    /// Session of the subscriber, on this shard.
    pub session: SessionIndex,
    /// The subscription of the session.
    pub subscription: SubscriptionIndex,
}

/// A simulcast layer of a track: 0 is the lowest; the only one of tracks without simulcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerIndex(pub u8);

/// A set of layers of one track.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LayerSet(u8);

impl ShardId {
    /// Index into per-shard arrays.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl LayerIndex {
    /// Index into per-layer arrays.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl LayerSet {
    /// The set without a layer.
    pub const NONE: LayerSet = LayerSet(0);

    /// The set with `layer` added.
    #[must_use]
    pub fn with(self, layer: LayerIndex) -> Self {
        Self(self.0 | 1 << layer.0)
    }

    /// True when the set contains `layer`.
    pub fn contains(self, layer: LayerIndex) -> bool {
        self.0 & 1 << layer.0 != 0
    }

    /// True when the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The layers of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<LayerIndex> for LayerSet {
    fn from_iter<I: IntoIterator<Item = LayerIndex>>(layers: I) -> Self {
        layers.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
