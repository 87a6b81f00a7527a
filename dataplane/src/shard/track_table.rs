//! What a shard knows of tracks, by key: those that it publishes, subscribes to or has heard of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::key::{LayerIndex, LayerSet, SessionIndex, ShardId, SubscriberIndex, TrackKey};
use crate::limits::MAX_LAYERS;
use crate::media::audio_level::AudioLevel;
use crate::media::keyframe_requests::KeyframeRequests;
use crate::media::layer_meter::LayerMeter;
use crate::media::packet::MediaPacket;
use crate::media::subscription::Subscription;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::send::history::History;

/// The tracks a shard publishes, subscribes to or has heard of.
#[derive(Default)]
pub struct TrackTable {
    by_key: HashMap<TrackKey, TrackEntry>,
}

/// What a shard knows of one track.
#[derive(Default)]
pub struct TrackEntry {
    /// Where it is published.
    pub home: Option<ShardId>,
    /// What it is.
    pub info: Option<Arc<TrackInfo>>,
    /// What was measured last.
    pub status: TrackStatus,
    /// Who subscribes here: session, subscription.
    pub subscribers: Vec<SubscriberIndex>,
    /// For each layer, how many of them need it.
    needed: [u32; MAX_LAYERS],
    /// What its home was told that we need.
    pub told: LayerSet,
    /// Present when it is published here.
    pub published: Option<Published>,
    /// Its latest packets, where somebody here subscribes to it.
    pub history: History,
    /// Place of its packets in the backlog, while they are put together.
    pub batch: Option<u32>,
}

/// What the home of a track knows beyond that.
pub struct Published {
    /// The session that publishes it.
    pub peer: SessionIndex,
    /// Keyframes wanted.
    pub keyframes: KeyframeRequests,
    /// True while it is on the list of tracks with requests that wait.
    pub is_waiting: bool,
    /// Bit rates.
    pub meter: LayerMeter,
    /// How loud it is.
    pub level: AudioLevel,
    /// Shards that need copies, and of which layers.
    pub copies: Vec<(ShardId, LayerSet)>,
    /// True while it is on the list of tracks with packets.
    pub active: bool,
    /// The codec of the latest packet, by its place among those that were negotiated.
    codec: u8,
    /// Of each layer, the epoch of its numbers, once known.
    epochs: [Option<u32>; MAX_LAYERS],
}

impl Published {
    /// A track that session `peer` publishes from `now` on.
    pub fn new(peer: SessionIndex, now: Instant) -> Self {
        Self {
            peer,
            keyframes: KeyframeRequests::default(),
            is_waiting: false,
            meter: LayerMeter::new(now),
            level: AudioLevel::default(),
            copies: Vec::new(),
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

    /// Sets which layers `shard` gets copies of.
    pub fn set_copies(&mut self, shard: ShardId, layers: LayerSet) {
        self.copies.retain(|(known, _)| *known != shard);
        if !layers.is_empty() {
            self.copies.push((shard, layers));
        }
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

    /// Forgets `key` when nobody publishes it and nobody here subscribes to it.
    pub fn tidy(&mut self, key: TrackKey) {
        if let Some(entry) = self.by_key.get(&key)
            && entry.home.is_none()
            && entry.published.is_none()
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

    /// The layers that subscribers here need.
    pub fn needed(&self) -> LayerSet {
        let needed = (0..).zip(self.needed).filter(|(_, count)| *count > 0);
        needed.map(|(layer, _)| LayerIndex(layer)).collect()
    }

    /// True when a subscriber needs `layer`, on whichever shard.
    pub fn is_needed(&self, layer: LayerIndex) -> bool {
        let mut copies = self
            .published
            .iter()
            .flat_map(|published| &published.copies);
        self.needed[layer.index()] > 0 || copies.any(|(_, layers)| layers.contains(layer))
    }

    /// Counts what `subscription` needs now instead of what it needed when last counted.
    pub fn recount(&mut self, subscription: &mut Subscription) {
        let (before, after) = (subscription.counted, subscription.layers());
        for index in 0..MAX_LAYERS {
            let layer = LayerIndex(index as u8);
            match (before.contains(layer), after.contains(layer)) {
                (false, true) => self.needed[index] += 1,
                (true, false) => self.needed[index] -= 1,
                (true, true) | (false, false) => {}
            }
        }
        subscription.counted = after;
    }

    /// Counts `layers` out: their subscription ended.
    pub fn uncount(&mut self, layers: LayerSet) {
        for index in 0..MAX_LAYERS {
            self.needed[index] -= u32::from(layers.contains(LayerIndex(index as u8)));
        }
    }
}
