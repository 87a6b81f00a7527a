//! Published tracks: declaration, negotiated formats and measurements.

use std::sync::Arc;

use super::codec::{CodecSpec, MediaKind};
use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::limits::MAX_LAYERS;

/// A track as the control plane declared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSpec {
    /// Key of the track in the data plane.
    pub key: TrackKey,
    /// Name of the track in the control plane.
    pub id: Arc<str>,
    /// The mid of the track's m-line in the publisher's offer.
    pub mid: String,
    /// Audio or video, as declared.
    pub kind: MediaKind,
    /// Simulcast layers, lowest first; empty without simulcast.
    pub layers: Vec<LayerSpec>,
}

/// A simulcast layer as the control plane declared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// Restriction identifier (RFC 8851).
    pub rid: String,
    /// Height in pixels; 0 when unknown.
    pub height: u32,
}

/// Negotiated formats that a publisher may send for a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFormats {
    /// Codecs, the publisher's preference first.
    pub codecs: Vec<CodecSpec>,
    /// True when the track may have two audio channels (RFC 7587).
    pub is_stereo: bool,
}

impl TrackFormats {
    /// Moves `codec`, which the publisher sends now, to the front: subscribers are offered it first.
    pub fn put_first(&mut self, codec: &CodecSpec) {
        if let Some(place) = self.codecs.iter().position(|known| known == codec) {
            self.codecs[..=place].rotate_right(1);
        }
    }
}

/// Description of a published track; every shard has a reference to it.
#[derive(Debug, Clone)]
pub struct TrackInfo {
    /// The track as the control plane declared it.
    pub spec: TrackSpec,
    /// Negotiated codecs that the publisher may send; [`MediaPacket::codec`](super::packet::MediaPacket::codec) is an
    /// index.
    pub codecs: Vec<CodecSpec>,
    /// True when the track may have two channels (RFC 7587).
    pub is_stereo: bool,
}

/// Measurements of a track, made on its home.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct TrackStatus {
    /// Bits per second of each layer over the last window.
    pub layer_bps: [u32; MAX_LAYERS],
    /// Layers with packets in the last window.
    pub live: LayerSet,
}

impl TrackInfo {
    /// The layer with this rid. Without simulcast every rid means the only layer.
    pub fn layer_of(&self, rid: Option<&str>) -> Option<LayerIndex> {
        match rid {
            Some(rid) => {
                let index = self.spec.layers.iter().position(|layer| layer.rid == rid)?;
                u8::try_from(index).ok().map(LayerIndex)
            }
            None if self.spec.layers.len() <= 1 => Some(LayerIndex(0)),
            None => None,
        }
    }

    /// The rid of `layer`; empty without simulcast.
    pub fn rid_of(&self, layer: LayerIndex) -> &str {
        self.spec
            .layers
            .get(layer.index())
            .map_or("", |layer| &layer.rid)
    }
}
