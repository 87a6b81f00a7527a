//! Tracks of a shard by key: published here, subscribed here, or announced by other shards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::key::{SubscriberIndex, TrackKey};
use crate::limits::MAX_LAYERS;
use crate::media::audio_level::AudioLevel;
use crate::media::layer_meter::LayerMeter;
use crate::media::packet::MediaPacket;
use crate::media::subscription::Subscription;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::send::history::History;
use crate::tree::route::TrackRoute;

/// The tracks a shard publishes, subscribes to or has heard of.
#[derive(Default)]
pub struct TrackTable {
    by_key: HashMap<TrackKey, TrackEntry>,
}

/// What a shard knows of one track.
#[derive(Default)]
pub struct TrackEntry {
    /// Source of the track, and its targets.
    pub route: TrackRoute,
    /// Description of the track, once it is known.
    pub info: Option<Arc<TrackInfo>>,
    /// What was measured last.
    pub status: TrackStatus,
    /// Subscribers on this shard: session and subscription.
    pub subscribers: Vec<SubscriberIndex>,
    /// What is measured where it enters the node, on this shard.
    pub published: Option<Published>,
    /// True while it is on the list of tracks with keyframe requests that wait.
    pub awaits_keyframe: bool,
    /// Latest packets of the track, if it has a subscriber on this shard.
    pub history: History,
    /// Place of its packets in the backlog, while they are put together.
    pub batch: Option<u32>,
}

/// What is measured of a track on its home.
pub struct Published {
    /// Bit rates of the track's layers.
    pub meter: LayerMeter,
    /// How loud it is.
    pub level: AudioLevel,
    /// True while it is on the list of tracks with packets.
    pub active: bool,
    /// The codec of the latest packet, by its place among those that were negotiated.
    codec: u8,
    /// Of each layer, the epoch of its numbers, once known.
    epochs: [Option<u32>; MAX_LAYERS],
}

impl Published {
    /// A track that enters the node here from `now` on.
    pub fn new(now: Instant) -> Self {
        Self {
            meter: LayerMeter::new(now),
            level: AudioLevel::default(),
            active: false,
            codec: 0, // the publisher's preference
            epochs: [None; MAX_LAYERS],
        }
    }

    /// A packet came. True when its numbers began anew and it is no keyframe.
    pub fn begins_anew(&mut self, packet: &MediaPacket) -> bool {
        let epoch = &mut self.epochs[packet.layer.index()];
        let before = epoch.replace(packet.epoch);
        !packet.keyframe && before.is_some_and(|before| before != packet.epoch)
    }

    /// A packet came. True when it has another codec than those before it.
    pub fn changes_codec(&mut self, packet: &MediaPacket) -> bool {
        std::mem::replace(&mut self.codec, packet.codec) != packet.codec
    }
}

impl TrackTable {
    /// What is known of `key`; made when nothing is.
    pub fn entry(&mut self, key: TrackKey) -> &mut TrackEntry {
        self.by_key.entry(key).or_default()
    }

    /// What is known of `key`.
    pub fn get_mut(&mut self, key: TrackKey) -> Option<&mut TrackEntry> {
        self.by_key.get_mut(&key)
    }

    /// Removes `key` when it has no publisher and no subscriber on this shard.
    pub fn tidy(&mut self, key: TrackKey) {
        if let Some(entry) = self.by_key.get(&key)
            && entry.route.home().is_none()
            && entry.route.origin().is_none()
            && entry.subscribers.is_empty()
        {
            self.by_key.remove(&key);
        }
    }
}

impl TrackEntry {
    /// True for video, when that is known.
    pub fn is_video(&self) -> bool {
        self.info
            .as_ref()
            .is_some_and(|info| info.spec.kind.is_video())
    }

    /// Counts what `subscription` needs now instead of what it needed when last counted.
    pub fn recount(&mut self, subscription: &mut Subscription) {
        let after = subscription.layers();
        self.route.count(subscription.counted, after);
        subscription.counted = after;
    }
}
