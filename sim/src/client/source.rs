//! Media that a publisher sends: video in simulcast layers and sound with pauses. Answers NACKs and keyframe requests.

use std::collections::VecDeque;
use std::time::Duration;

use spillway_wire::rtcp::{Packet, SenderInfo, packets, sender_report_length, write_sender_report};
use spillway_wire::rtp::{ExtensionForm, Header};

use super::sdp::{AUDIO_LEVEL, MID, OfferedLine, RID, Remote};
use super::stamp::Stamp;
use super::transport::Transport;
use crate::clock::{START_UNIX_S, Time};
use crate::rng::Rng;

/// Media of one m-line.
pub struct Source {
    /// Number of the track in stamps.
    pub track: u32,
    /// True while the publisher has muted the track.
    pub is_muted: bool,
    is_audio: bool,
    mid: String,
    layers: Vec<Layer>,
    ids: Ids,
    rng: Rng,
    next_frame: Time,
    next_report: Time,
    /// Sound: end of the present sentence or pause.
    sentence_ends: Time,
    is_talking: bool,
}

/// One RTP stream of a publisher.
struct Layer {
    rid: String,
    ssrc: u32,
    /// Index of the next packet: rollover count and sequence number.
    index: u64,
    /// Number of the next packet from the start of the track.
    number: u32,
    frame: u32,
    time_offset: u32,
    wants_key: bool,
    /// Datagrams that may be sent again, by sequence number.
    recent: VecDeque<(u16, Vec<u8>)>,
    octets: u32,
}

/// Identifiers of header extensions that the other side accepted.
#[derive(Debug, Clone, Copy, Default)]
struct Ids {
    mid: Option<u8>,
    rid: Option<u8>,
    level: Option<u8>,
}

/// Time between two pictures of video.
const PICTURE: Duration = Duration::from_millis(100);
/// Time between packets of sound.
const SOUND: Duration = Duration::from_millis(60);
/// Time between packets of sound in a pause (DTX).
const SILENCE: Duration = Duration::from_millis(400);
/// Time between sender reports.
const REPORT: Duration = Duration::from_secs(1);
/// Number of datagrams that are kept to answer NACKs.
const KEPT: usize = 256;
/// Payload bytes of a packet of the lowest layer; each layer has twice as many.
const LAYER_BYTES: usize = 60;
/// Packets of a keyframe.
const KEY_PARTS: u8 = 3;
/// Seconds from 1900 to 1970, for NTP times (RFC 868).
const NTP_EPOCH_S: u64 = 2_208_988_800;
const VIDEO_TYPE: u8 = 96;
const AUDIO_TYPE: u8 = 111;

impl Source {
    /// Media of the m-line `mid`, which `line` offers.
    pub fn new(track: u32, mid: &str, line: &OfferedLine, mut rng: Rng) -> Self {
        let single = [String::new()];
        let rids = match line.rids.is_empty() {
            true => &single[..],
            false => &line.rids[..],
        };
        let layers = rids.iter().map(|rid| Layer {
            rid: rid.clone(),
            ssrc: match rid.is_empty() {
                true => line.ssrc,
                false => rng.number() as u32,
            },
            // Receivers assume a rollover count of 0 (RFC 3711 section 3.3.1).
            index: rng.below(1 << 15),
            number: 0,
            frame: 0,
            time_offset: rng.number() as u32,
            wants_key: true,
            recent: VecDeque::new(),
            octets: 0,
        });
        Self {
            track,
            is_muted: false,
            is_audio: line.is_audio,
            mid: mid.to_owned(),
            layers: layers.collect(),
            ids: Ids::default(),
            rng,
            next_frame: Time::ZERO,
            next_report: Time::ZERO,
            sentence_ends: Time::ZERO,
            is_talking: false,
        }
    }

    /// Handles the answer to the offer.
    pub fn set_remote(&mut self, remote: &Remote) {
        let line = remote.lines.iter().find(|line| line.mid == self.mid);
        let id = |uri: &str| line.and_then(|line| line.extensions.get(uri).copied());
        self.ids = Ids {
            mid: id(MID),
            rid: id(RID),
            level: id(AUDIO_LEVEL),
        };
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout).
    pub fn deadline(&self) -> Time {
        self.next_frame.min(self.next_report)
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, transport: &mut Transport, now: Time) {
        if self.next_frame <= now {
            self.next_frame = now + self.pause(now);
            if !self.is_muted && transport.is_connected() {
                for layer in 0..self.layers.len() {
                    self.send_frame(layer, transport, now);
                }
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORT;
            for layer in &self.layers {
                if layer.number > 0 {
                    transport.send_rtcp(&layer.report(self.clock_rate(), now));
                }
            }
        }
    }

    /// Handles feedback of the other side.
    pub fn feedback(&mut self, compound: &[u8], transport: &mut Transport) {
        for packet in packets(compound).filter_map(Result::ok) {
            match packet {
                Packet::Pli { media_ssrc } => self.want_key(media_ssrc),
                Packet::Fir { entries } => entries.for_each(|(ssrc, _)| self.want_key(ssrc)),
                Packet::Nack { media_ssrc, lost } => {
                    let layers = self.layers.iter();
                    for layer in layers.filter(|layer| layer.ssrc == media_ssrc) {
                        for seq in lost.clone() {
                            let kept = layer.recent.iter().find(|(kept, _)| *kept == seq);
                            if let Some((_, datagram)) = kept {
                                transport.send(datagram.clone());
                            }
                        }
                    }
                }
                Packet::SenderReport { .. }
                | Packet::ReceiverReport { .. }
                | Packet::Remb(_)
                | Packet::TransportFeedback(_)
                | Packet::Bye
                | Packet::Other => {}
            }
        }
    }

    fn want_key(&mut self, ssrc: u32) {
        for layer in &mut self.layers {
            layer.wants_key |= layer.ssrc == ssrc;
        }
    }

    fn clock_rate(&self) -> u64 {
        if self.is_audio { 48_000 } else { 90_000 }
    }

    /// Time to the next frame.
    fn pause(&mut self, now: Time) -> Duration {
        if !self.is_audio {
            return PICTURE;
        }
        if self.sentence_ends <= now {
            self.is_talking = !self.is_talking;
            self.sentence_ends = now + Duration::from_millis(self.rng.between(500, 4_000));
        }
        if self.is_talking { SOUND } else { SILENCE }
    }

    fn send_frame(&mut self, index: usize, transport: &mut Transport, now: Time) {
        let (ids, track, is_audio, rate) = (self.ids, self.track, self.is_audio, self.clock_rate());
        let level = [if self.is_talking { 0x80 | 30 } else { 127 }];
        let mid = self.mid.clone();
        let Some(layer) = self.layers.get_mut(index) else {
            return;
        };
        let is_key = !is_audio && std::mem::take(&mut layer.wants_key);
        let parts = if is_key { KEY_PARTS } else { 1 };
        layer.frame += 1;
        for part in 0..parts {
            layer.number += 1;
            let stamp = Stamp {
                track,
                layer: index as u8,
                frame: layer.frame,
                part,
                parts,
                is_key,
                number: layer.number,
            };
            let payload = match is_audio {
                true => stamp.audio(LAYER_BYTES),
                false => stamp.video(LAYER_BYTES << index),
            };
            let header = Header {
                marker: part + 1 == parts,
                padded: false,
                payload_type: if is_audio { AUDIO_TYPE } else { VIDEO_TYPE },
                seq: layer.index as u16,
                time: layer.time(rate, now),
                ssrc: layer.ssrc,
            };
            let rid = ids.rid.filter(|_| !layer.rid.is_empty());
            let level_id = ids.level.filter(|_| is_audio);
            let extensions = [
                ids.mid.map(|id| (id, mid.as_bytes())),
                rid.map(|id| (id, layer.rid.as_bytes())),
                level_id.map(|id| (id, &level[..])),
            ];
            let mut packet = vec![0; 128];
            let extensions = extensions.into_iter().flatten();
            let length = header.write(&mut packet, ExtensionForm::OneByte, extensions);
            packet.truncate(length);
            packet.extend(&payload);
            layer.octets = layer.octets.wrapping_add(payload.len() as u32);
            let sealed = transport.seal_rtp(&packet, length, layer.ssrc, layer.index);
            layer.index += 1;
            let Some(sealed) = sealed else {
                continue;
            };
            if layer.recent.len() == KEPT {
                layer.recent.pop_front();
            }
            layer.recent.push_back((header.seq, sealed.clone()));
            transport.send(sealed);
        }
    }
}

impl Layer {
    /// RTP timestamp at `now`.
    fn time(&self, clock_rate: u64, now: Time) -> u32 {
        let units = now.since_start().as_micros() as u64 * clock_rate / 1_000_000;
        (units as u32).wrapping_add(self.time_offset)
    }

    fn report(&self, clock_rate: u64, now: Time) -> Vec<u8> {
        const CNAME: &str = "sim";
        let since = now.since_start();
        let seconds = NTP_EPOCH_S + START_UNIX_S + since.as_secs();
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        let info = SenderInfo {
            ssrc: self.ssrc,
            ntp: seconds << 32 | fraction,
            rtp_time: self.time(clock_rate, now),
            packets: self.number,
            octets: self.octets,
        };
        let mut out = vec![0; sender_report_length(CNAME.len())];
        let length = write_sender_report(&info, CNAME, &mut out);
        out.truncate(length.expect("the buffer has the length of the report"));
        out
    }
}
