//! Identifiers of sessions, tracks, layers and shards inside this process: small, copied freely, never reused.

use std::fmt;

/// A shard: one core's share of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A link to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// A session, independent of its name at the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// A published track, independent of its name at the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TrackKey(pub u64);

/// A session's place on the shard where it lives; another session may have it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionIndex(pub usize);

/// A subscription's place in its session; another one may have it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionIndex(pub u32);

/// A subscription of a session that lives on this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberIndex {
    /// Session of the subscriber, on this shard.
    pub session: SessionIndex,
    /// The subscription of the session.
    pub subscription: SubscriptionIndex,
}

/// A simulcast layer of a track: 0 is the lowest; tracks without simulcast have only that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerIndex(pub u8);

/// Some of a track's layers.
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

    /// True when `layer` is in it.
    pub fn contains(self, layer: LayerIndex) -> bool {
        self.0 & 1 << layer.0 != 0
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Layers of either set.
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
