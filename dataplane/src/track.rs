//! Published tracks: what they are, and what their packets look like inside the data plane.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use spillway_wire::{keyframe, red, vp8};
use str0m::format::{Codec, PayloadParams};
use str0m::media::MediaKind;
use str0m::rtp::{RtpPacket, VideoOrientation};

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
#[derive(Debug)]
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

/// One packet of a track, decrypted; what fan-out hands around.
#[derive(Debug, Clone)]
pub struct MediaPacket {
    /// Which track.
    pub track: TrackKey,
    /// Which layer of it.
    pub layer: LayerIndex,
    /// Index into [`TrackInfo::codecs`].
    pub codec: u8,
    /// When the payload is RFC 2198 redundancy around the codec: the newest block in it, for
    /// subscribers that did not negotiate redundancy.
    pub primary: Option<Arc<[u8]>>,
    /// Epoch of the layer's numbers: they go on from each other within one, and a higher one is later.
    pub epoch: u32,
    /// Extended sequence number.
    pub seq: u64,
    /// RTP timestamp.
    pub time: u32,
    /// Last packet of a frame (video), first of a talk spurt (audio).
    pub marker: bool,
    /// First packet of a frame that needs no other.
    pub keyframe: bool,
    /// VP8 payload descriptor.
    pub vp8: Option<vp8::Descriptor>,
    /// RFC 6464: level in -dBov (0 loudest), and whether it is voice.
    pub audio_level: Option<(u8, bool)>,
    /// CVO header extension.
    pub orientation: Option<VideoOrientation>,
    /// The publisher's latest sender report for this layer: wall clock and RTP time that belong together.
    pub sender_report: Option<(SystemTime, u32)>,
    /// RTP payload.
    pub payload: Arc<[u8]>,
    /// When the datagram was received by the shard that decrypted it.
    pub arrived: Instant,
}

impl MediaPacket {
    /// A copy whose bytes the receiving shard owns alone, so that no reference count is shared.
    #[must_use]
    pub fn copy_for_shard(&self) -> Self {
        Self {
            payload: Arc::from(&self.payload[..]),
            primary: self.primary.as_deref().map(Arc::from),
            ..self.clone()
        }
    }
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

/// Measures the bit rate of each layer in windows.
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

    /// A packet with `bytes` of payload.
    pub fn count(&mut self, layer: LayerIndex, bytes: usize) {
        self.bytes[layer.index()] += bytes as u64;
    }

    /// The rates since the last call, if that was `window` ago.
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
