//! Converts a decrypted packet into a `MediaPacket`.

use std::sync::Arc;
use std::time::Instant;

use spillway_wire::{keyframe, red, vp8};
use str0m::format::{Codec, PayloadParams};
use str0m::rtp::RtpPacket;

use crate::key::{LayerIndex, TrackKey};
use crate::media::extensions::CarriedExtensions;
use crate::media::packet::MediaPacket;

/// Negotiated formats of one published track; [`MediaPacket::codec`] is an index into them.
#[derive(Default)]
pub(super) struct Payloads {
    pub(super) payloads: Vec<PayloadParams>,
}

impl Payloads {
    /// Converts a decrypted packet of this layer and epoch; `None` if its payload type was not negotiated.
    pub(super) fn packet(
        &self,
        packet: RtpPacket,
        track: TrackKey,
        layer: LayerIndex,
        epoch: u32,
        arrived: Instant,
    ) -> Option<MediaPacket> {
        let pt = packet.header.payload_type;
        let matches = |codec: &PayloadParams| codec.pt() == pt || codec.red() == Some(pt);
        let codec = self.payloads.iter().position(matches)?;
        let params = &self.payloads[codec];
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
            track,
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
            orientation: ext.video_orientation.map(|orientation| orientation as u8),
            extensions: CarriedExtensions::default(),
            sender_report: packet
                .last_sender_info
                .map(|report| (report.ntp_time, report.rtp_time.numer() as u32)),
            payload: packet.payload,
            arrived,
        })
    }
}

/// True when `payload` starts a frame that can be decoded without earlier frames.
fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => keyframe::vp8(payload),
        Codec::Vp9 => keyframe::vp9(payload),
        Codec::H264 => keyframe::h264(payload),
        Codec::Av1 => keyframe::av1(payload),
        _ => true, // audio: every packet can be decoded alone; no other video codec is negotiated
    }
}
