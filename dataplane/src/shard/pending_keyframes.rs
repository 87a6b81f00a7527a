//! Keyframe requests that no keyframe has answered.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::key::{LayerIndex, TrackKey};
use crate::media::packet::MediaPacket;

/// Requests that no keyframe has answered.
#[derive(Default)]
pub struct PendingKeyframes {
    /// Tracks published here with requests that wait.
    pub waiting: Vec<TrackKey>,
    /// Keyframes asked of other shards, and when: no answer may mean that it was lost on the way.
    pub asked: BTreeMap<(TrackKey, LayerIndex), Instant>,
}

impl PendingKeyframes {
    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty()
    }

    /// `packet` came, from here or elsewhere: if it begins a keyframe, that is what was asked for.
    pub fn received(&mut self, packet: &MediaPacket) {
        if packet.keyframe && !self.asked.is_empty() {
            self.asked.remove(&(packet.track, packet.layer));
        }
    }
}
