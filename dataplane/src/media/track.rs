//! Published tracks: declaration and packet properties.

use std::sync::Arc;

use super::codec::{CodecSpec, MediaKind};
use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::limits::MAX_LAYERS;

/// A track as the control plane declared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSpec {
    /// Name of the track inside the data plane.
    pub key: TrackKey,
    /// The control plane's name.
    pub id: Arc<str>,
    /// The m-line of the publisher's offer.
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
    /// Pixels; 0 when unknown.
    pub height: u32,
}

/// Negotiated formats that a publisher may send for a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFormats {
    /// Codecs, the publisher's preference first.
    pub codecs: Vec<CodecSpec>,
    /// True when the track may have two channels (RFC 7587).
    pub is_stereo: bool,
}

impl TrackFormats {
    /// The publisher sends `codec`: subscribers are offered that codec first.
    pub fn put_first(&mut self, codec: &CodecSpec) {
        if let Some(place) = self.codecs.iter().position(|known| known == codec) {
            self.codecs[..=place].rotate_right(1);
        }
    }
}

/// Description of a track that every shard has.
#[derive(Debug, Clone)]
pub struct TrackInfo {
    /// The track as the control plane declared it.
    pub spec: TrackSpec,
    /// Codecs the publisher may send, as negotiated; packets name one by index.
    pub codecs: Vec<CodecSpec>,
    /// True when the track may have two channels (RFC 7587).
    pub is_stereo: bool,
}

/// Values of a track that are measured at the publisher.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct TrackStatus {
    /// Bits per second of each layer over the last window.
    pub layer_bps: [u32; MAX_LAYERS],
    /// Layers with packets in the last window.
    pub live: LayerSet,
}

impl TrackInfo {
    /// Layer of `rid`; without simulcast the only one.
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
