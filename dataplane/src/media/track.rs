//! Published tracks: what they are, and what their packets look like inside the data plane.

use std::sync::Arc;
use std::time::Instant;

use spillway_wire::{keyframe, red, vp8};
use str0m::format::{Codec, PayloadParams};
use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

use super::packet::MediaPacket;
use crate::key::{LayerIndex, LayerSet, SessionKey, TrackKey};
use crate::limits::MAX_LAYERS;

/// A track as the control plane declared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSpec {
    /// Our name.
    pub key: TrackKey,
    /// The control plane's name.
    pub id: Arc<str>,
    /// The m-line of the publisher's offer.
    pub mid: String,
    /// Audio or video.
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

/// What a publisher may send as a track, as negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFormats {
    /// Codecs, the publisher's preference first.
    pub codecs: Vec<PayloadParams>,
    /// It may have two channels (RFC 7587).
    pub is_stereo: bool,
}

impl TrackFormats {
    /// The publisher sends `codec`: subscribers are offered that codec first.
    pub fn put_first(&mut self, codec: &PayloadParams) {
        if let Some(place) = self.codecs.iter().position(|known| known == codec) {
            self.codecs[..=place].rotate_right(1);
        }
    }
}

/// What every shard knows of a track.
#[derive(Debug, Clone)]
pub struct TrackInfo {
    /// As declared.
    pub spec: TrackSpec,
    /// Who publishes it.
    pub session: SessionKey,
    /// Codecs the publisher may send, as negotiated; packets name one by index.
    pub codecs: Vec<PayloadParams>,
    /// It may have two channels (RFC 7587).
    pub is_stereo: bool,
}

/// What is measured of a track where it is published.
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

    /// Makes a media packet, of that layer and epoch, of what the session layer decrypted; `None` for a payload type that was not
    /// negotiated.
    pub fn packet(
        &self,
        packet: RtpPacket,
        (layer, epoch): (LayerIndex, u32),
        arrived: Instant,
    ) -> Option<MediaPacket> {
        let pt = packet.header.payload_type;
        let matches = |codec: &PayloadParams| codec.pt() == pt || codec.red() == Some(pt);
        let codec = self.codecs.iter().position(matches)?;
        let params = &self.codecs[codec];
        let payload = &packet.payload;
        let vp8 = match params.spec().codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload),
            _ => None,
        };
        let primary = match params.red() == Some(pt) {
            true => Some(Arc::from(red::primary(payload)?)),
            false => None,
        };
        let ext = &packet.header.ext_vals;
        let level = ext.audio_level.map(|level| level.unsigned_abs());
        Some(MediaPacket {
            track: self.spec.key,
            layer,
            codec: u8::try_from(codec).ok()?,
            primary,
            epoch,
            seq: *packet.seq_no,
            time: packet.header.timestamp,
            marker: packet.header.marker,
            keyframe: starts_keyframe(params.spec().codec, payload),
            vp8,
            audio_level: level.map(|level| (level, ext.voice_activity.unwrap_or(true))),
            orientation: ext.video_orientation,
            sender_report: packet
                .last_sender_info
                .map(|report| (report.ntp_time, report.rtp_time.numer() as u32)),
            payload: packet.payload,
            arrived,
        })
    }
}

/// True when `payload` begins a frame at which a receiver can start.
fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => keyframe::vp8(payload),
        Codec::Vp9 => keyframe::vp9(payload),
        Codec::H264 => keyframe::h264(payload),
        Codec::Av1 => keyframe::av1(payload),
        _ => true, // audio: every packet stands alone; no other video codec is negotiated
    }
}
