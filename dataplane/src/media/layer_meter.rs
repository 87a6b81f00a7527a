//! Bit rate of each layer of a track, measured on the track's home.

use std::time::{Duration, Instant};

use super::track::TrackStatus;
use crate::key::LayerIndex;
use crate::limits::MAX_LAYERS;

/// Counts the bytes of each layer over a window of time.
#[derive(Debug)]
pub struct LayerMeter {
    bytes: [u64; MAX_LAYERS],
    since: Instant,
}

impl LayerMeter {
    /// Starts measuring at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            bytes: [0; MAX_LAYERS],
            since: now,
        }
    }

    /// Counts a packet with `bytes` of payload.
    pub fn count(&mut self, layer: LayerIndex, bytes: usize) {
        self.bytes[layer.index()] += bytes as u64;
    }

    /// The bit rates since the last result, if that is at least `window` ago.
    pub fn measure(&mut self, now: Instant, window: Duration) -> Option<TrackStatus> {
        let elapsed = now.duration_since(self.since);
        if elapsed < window {
            return None;
        }
        let bps = |bytes: u64| (bytes as f64 * 8.0 / elapsed.as_secs_f64()) as u32;
        let live = (0..).zip(self.bytes).filter(|(_, bytes)| *bytes > 0);
        let status = TrackStatus {
            layer_bps: self.bytes.map(bps),
            live: live.map(|(layer, _)| LayerIndex(layer)).collect(),
        };
        *self = Self::new(now);
        Some(status)
    }
}
