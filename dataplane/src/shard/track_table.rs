//! Tracks of a shard by key: published here, subscribed here, or announced by another shard.

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

/// Tracks with a publisher or subscriber on this shard, or announced by another shard.
#[derive(Default)]
pub struct TrackTable {
    by_key: HashMap<TrackKey, TrackEntry>,
}

/// State of one track on this shard.
#[derive(Default)]
pub struct TrackEntry {
    /// Source of the track, and its targets.
    pub route: TrackRoute,
    /// Description of the track; `None` until it is published.
    pub info: Option<Arc<TrackInfo>>,
    /// Latest measurements, made on the track's home.
    pub status: TrackStatus,
    /// Subscribers on this shard: session and subscription.
    pub subscribers: Vec<SubscriberIndex>,
    /// Measurements of the track; `Some` only on its home.
    pub published: Option<Published>,
    /// True while the track is in the shard's list of unanswered keyframe requests.
    pub awaits_keyframe: bool,
    /// Latest packets of the track; empty without a subscriber on this shard.
    pub history: History,
    /// Number of the batch that new packets of the track are added to, while batches are made.
    pub batch: Option<u32>,
}

/// Measurements of a track on its home.
pub struct Published {
    /// Bit rates of the track's layers.
    pub meter: LayerMeter,
    /// Audio level of the track.
    pub level: AudioLevel,
    /// True while the track is in the list of tracks with packets since the last measurement.
    pub active: bool,
    /// Codec of the latest packet, as an index into the negotiated codecs.
    codec: u8,
    /// Epoch of the sequence numbers of each layer; `None` before the first packet.
    epochs: [Option<u32>; MAX_LAYERS],
}

impl Published {
    /// A track that enters the node here at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            meter: LayerMeter::new(now),
            level: AudioLevel::default(),
            active: false,
            codec: 0, // the publisher's preference
            epochs: [None; MAX_LAYERS],
        }
    }

    /// Records the epoch of a packet. True when the sequence numbers restarted and the packet is no keyframe.
    pub fn restarts_numbers(&mut self, packet: &MediaPacket) -> bool {
        let epoch = &mut self.epochs[packet.layer.index()];
        let before = epoch.replace(packet.epoch);
        !packet.keyframe && before.is_some_and(|before| before != packet.epoch)
    }

    /// Records the codec of a packet. True when earlier packets had another codec.
    pub fn changes_codec(&mut self, packet: &MediaPacket) -> bool {
        std::mem::replace(&mut self.codec, packet.codec) != packet.codec
    }
}

impl TrackTable {
    /// The state of track `key`, created if unknown.
    pub fn entry(&mut self, key: TrackKey) -> &mut TrackEntry {
        self.by_key.entry(key).or_default()
    }

    /// The state of track `key`, if known.
    pub fn get_mut(&mut self, key: TrackKey) -> Option<&mut TrackEntry> {
        self.by_key.get_mut(&key)
    }

    /// Removes `key` when it has no publisher and no subscriber on this shard.
    pub fn remove_unused(&mut self, key: TrackKey) {
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
    /// True if the track is known to be video.
    pub fn is_video(&self) -> bool {
        self.info
            .as_ref()
            .is_some_and(|info| info.spec.kind.is_video())
    }

    /// Updates the layers that `subscription` needs in the counts of the track.
    pub fn recount(&mut self, subscription: &mut Subscription) {
        let after = subscription.layers();
        self.route.count(subscription.counted, after);
        subscription.counted = after;
    }
}
