//! One outgoing SSRC: its numbers, its header extensions, and how its packets are written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spillway_estimate::Estimator;
use spillway_wire::red;
use spillway_wire::rtcp::ReportBlock;
use spillway_wire::rtp::{self, ExtensionForm, Header};

use super::kept::Kept;
use super::ntp::{compact_ntp, ntp};
use super::resend::{Allowance, Asked, Resend};
use super::rewriter::{Rewriter, Rewritten, Sent, Splice};
use crate::drop_reason::DropReason;
use crate::io::entropy::Entropy;
use crate::limits::CARRIED_EXTENSION_BYTES;
use crate::media::codec::MediaKind;
use crate::media::extensions::{
    CarriedExtensions, EXTENSION_KINDS, ExtensionKind, set_frame_number,
};
use crate::media::packet::MediaPacket;
use crate::media::subscription::{Encoding, Verdict};
use crate::srtp::Sealer;

/// Of all video codecs (RFC 7741, RFC 9628, RFC 6184 and the AV1 payload format).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Of Opus at any sampling rate (RFC 7587 section 4.1).
const OPUS_CLOCK_HZ: u32 = 48_000;
/// The original sequence number in front of a retransmitted payload (RFC 4588 section 4).
const ORIGINAL_SEQ_BYTES: usize = 2;

/// An outgoing stream; lives as long as its m-line.
pub struct Stream {
    kind: MediaKind,
    rewriter: Rewriter,
    wire: Option<Wire>,
    /// Packets sent, for reports; wraps.
    packets: u32,
    /// Payload bytes sent, for reports; wraps.
    octets: u32,
    /// The receiver reported on the SSRC: it knows to which m-line it belongs.
    is_bound: bool,
    /// RTP timestamp of the frame that is being sent.
    frame: Option<u32>,
    /// That frame is dropped.
    is_shedding: bool,
    /// What may be sent again.
    allowance: Allowance,
    /// What was sealed for a subscriber without RTX.
    kept: Kept,
    /// The latest sender reports: the middle of their NTP time, and when they were sent.
    reports: VecDeque<(u32, Instant)>,
    /// Reports that follow each other quickly, to come.
    quick_reports: u8,
}

/// Sender reports that a receiver may still refer to.
const REPORTS: usize = 32;
/// Reports that follow each other quickly when something else plays from then on: receivers tie sound and picture together by
/// the latest ones, libwebrtc by twenty, and its clock may be another publisher's.
const QUICK_REPORTS: u8 = 20;
/// The same when the first packet was sent: libwebrtc ties sound and picture together from the second report on.
const FIRST_QUICK_REPORTS: u8 = 2;

/// The SSRCs of an m-line.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs {
    /// Of its media.
    pub media: u32,
    /// Of retransmissions (RFC 4588), where they were negotiated.
    pub rtx: Option<u32>,
}

/// An m-line as it was negotiated.
#[derive(Debug, Clone, Copy)]
pub struct Negotiated<'a> {
    /// Its name.
    pub mid: &'a str,
    /// What reports call its source.
    pub cname: &'a str,
    /// Its SSRCs.
    pub ssrcs: Ssrcs,
    /// Its header extensions.
    pub extensions: ExtensionIds,
}

/// What decides how long a header is, beside its packet.
#[derive(Debug, Clone, Copy)]
struct HeaderNeeds {
    /// The receiver knows to which m-line the SSRC belongs.
    is_bound: bool,
    /// The packet has a transport-wide number.
    is_measured: bool,
}

/// What stands in the extension of a header.
struct HeaderExtras<'a> {
    /// `None` for padding.
    packet: Option<&'a MediaPacket>,
    is_bound: bool,
    transport_seq: Option<[u8; 2]>,
    /// Of its dependency descriptor, if it has one.
    frame_number: u16,
}

/// What was negotiated.
struct Wire {
    ssrc: u32,
    resend: Option<Resend>,
    /// Payload type of retransmissions of what was sent last.
    resend_pt: Option<u8>,
    mid: MidBytes,
    cname: Box<str>,
    ids: ExtensionIds,
}

/// The name of an m-line as header extensions carry it: 16 bytes at most (RFC 8285 section 4.2).
#[derive(Debug, Clone, Copy)]
struct MidBytes {
    bytes: [u8; 16],
    length: u8,
}

/// What a sender report says.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Of which stream.
    pub ssrc: u32,
    /// Whose.
    pub cname: &'a str,
    /// The publisher's wall clock as NTP has it, and
    pub ntp: u64,
    /// the outgoing timestamp that belongs to it.
    pub rtp_time: u32,
    /// Packets sent so far; wraps.
    pub packets: u32,
    /// Payload bytes sent so far; wraps.
    pub octets: u32,
}

/// Identifiers of the header extensions we write, where negotiated.
#[derive(Debug, Default, Clone, Copy)]
pub struct ExtensionIds {
    /// The name of the m-line (RFC 9143).
    pub mid: Option<u8>,
    /// Transport-wide sequence numbers.
    pub transport_cc: Option<u8>,
    /// RFC 6464.
    pub audio_level: Option<u8>,
    /// CVO.
    pub orientation: Option<u8>,
    /// What is carried from the publisher.
    pub carried: CarriedIds,
}

/// Identifiers of the header extensions that are carried, where negotiated.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CarriedIds {
    by_kind: [Option<u8>; EXTENSION_KINDS],
    /// The receiver takes values of more than 16 bytes (RFC 8285 section 4.1.2).
    allows_two_byte: bool,
}

impl CarriedIds {
    /// None, of a receiver that takes long values or does not.
    pub fn none(allows_two_byte: bool) -> Self {
        Self {
            allows_two_byte,
            ..Self::default()
        }
    }

    /// `kind` has that identifier.
    pub fn set(&mut self, kind: ExtensionKind, id: u8) {
        self.by_kind[kind as usize] = Some(id);
    }

    /// The elements of `extensions` that the receiver takes.
    fn elements<'a>(
        self,
        extensions: &'a CarriedExtensions,
    ) -> impl Iterator<Item = (u8, ExtensionKind, &'a [u8])> + Clone {
        let all = extensions.iter();
        let known =
            all.filter_map(move |(kind, value)| Some((self.by_kind[kind as usize]?, kind, value)));
        known.filter(move |(id, _, value)| {
            self.allows_two_byte || ExtensionForm::OneByte.fits(*id, value)
        })
    }

    /// The form that all of those need.
    fn form(self, extensions: &CarriedExtensions) -> ExtensionForm {
        let fits =
            |(id, _, value): (u8, ExtensionKind, &[u8])| ExtensionForm::OneByte.fits(id, value);
        match self.elements(extensions).all(fits) {
            true => ExtensionForm::OneByte,
            false => ExtensionForm::TwoByte,
        }
    }
}

/// A packet that has its numbers and its size, and waits to be written.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Bytes of the datagram without padding.
    pub bytes: usize,
    numbers: Rewritten,
    encoding: Encoding,
    resent: bool,
}

/// Everything a packet is written with besides its stream.
pub struct Keys<'a> {
    /// Seals.
    pub sealer: &'a mut Sealer,
    /// Counts what it may carry.
    pub estimator: Option<&'a mut Estimator>,
    /// When it leaves.
    pub now: Instant,
}

impl Stream {
    /// A stream that is not negotiated yet.
    pub fn new(kind: MediaKind, entropy: &mut Entropy) -> Self {
        Self {
            kind,
            rewriter: Rewriter::new(first_seq(entropy)),
            wire: None,
            packets: 0,
            octets: 0,
            is_bound: false,
            frame: None,
            is_shedding: false,
            allowance: Allowance::default(),
            kept: Kept::default(),
            reports: VecDeque::with_capacity(REPORTS),
            quick_reports: 0,
        }
    }

    /// Its SSRCs, m-line and extensions are known. Numbers go on: they belong to the SSRC.
    pub fn negotiated(&mut self, line: &Negotiated<'_>, entropy: &mut Entropy) {
        let Ssrcs { media: ssrc, rtx } = line.ssrcs;
        let known = self.wire.take();
        let is_same = known.as_ref().is_none_or(|wire| wire.ssrc == ssrc);
        assert!(
            is_same,
            "an m-line keeps its SSRC: its numbers are used up under it"
        );
        let resend = known.and_then(|wire| wire.resend);
        let resend = resend.or_else(|| Some(Resend::new(rtx?, first_seq(entropy))));
        self.wire = Some(Wire {
            ssrc,
            resend,
            resend_pt: None,
            mid: MidBytes::of(line.mid),
            cname: line.cname.into(),
            ids: line.extensions.of_use(self.kind),
        });
    }

    /// Payload bytes of video sent so far; wraps.
    pub fn video_octets(&self) -> u32 {
        if self.kind.is_video() { self.octets } else { 0 }
    }

    /// True when its packets may carry transport-wide sequence numbers.
    pub fn can_be_measured(&self) -> bool {
        self.wire
            .as_ref()
            .is_some_and(|wire| wire.ids.transport_cc.is_some())
    }

    /// The receiver reported on it, or on its retransmissions. How long the way there and back took, where it says when it
    /// got which sender report (RFC 3550 section 6.4.1).
    pub fn reported(&mut self, block: &ReportBlock, now: Instant) -> Option<Duration> {
        let wire = self.wire.as_mut()?;
        if let Some(resend) = wire
            .resend
            .as_mut()
            .filter(|resend| resend.ssrc == block.ssrc)
        {
            resend.is_bound = true;
        }
        if wire.ssrc != block.ssrc {
            return None;
        }
        self.is_bound = true;
        let (_, sent) = self.reports.iter().find(|(ntp, _)| *ntp == block.last_sr)?;
        let held = Duration::from_secs_f64(f64::from(block.delay_since_last_sr) / 65_536.0);
        now.saturating_duration_since(*sent).checked_sub(held)
    }

    /// Whether `packet` is dropped because the socket is full. Frames are dropped whole: what their first
    /// packet found holds for all.
    pub fn sheds(&mut self, packet: &MediaPacket, is_full: bool) -> bool {
        if self.frame != Some(packet.time) {
            self.frame = Some(packet.time);
            self.is_shedding = is_full && self.kind.is_video();
        }
        self.is_shedding
    }

    /// Gives `packet` its numbers and its size.
    pub fn plan(
        &mut self,
        packet: &MediaPacket,
        (verdict, encoding): (Verdict, Encoding),
        sealer: &Sealer,
        is_measured: bool,
    ) -> Result<Planned, DropReason> {
        if verdict == Verdict::Switch {
            match self.rewriter.switch(packet, self.clock_hz()) {
                Splice::First => self.quick_reports = FIRST_QUICK_REPORTS,
                Splice::OtherClock => self.quick_reports = QUICK_REPORTS,
                Splice::SameClock => {}
            }
        }
        let numbers = self.rewriter.rewrite(packet);
        let numbers = numbers.ok_or(DropReason::BeforeSwitch)?;
        let wire = self.wire.as_mut().ok_or(DropReason::NoCodec)?;
        wire.resend_pt = encoding.resend.or(wire.resend_pt);
        let header = wire.header_bytes(
            Some(packet),
            HeaderNeeds {
                is_bound: self.is_bound,
                is_measured,
            },
        );
        let payload = payload(packet, encoding).len();
        Ok(Planned {
            bytes: header + payload + sealer.rtp_overhead(),
            numbers,
            encoding,
            resent: false,
        })
    }

    /// Plans to send again what went out as `seq`. `kept` finds the packet.
    pub fn plan_again<'p>(
        &mut self,
        seq: u16,
        at: Asked,
        (sealer, is_measured): (&Sealer, bool),
        kept: impl FnOnce(&Sent) -> Option<(&'p MediaPacket, Encoding)>,
    ) -> Result<(Planned, &'p MediaPacket), DropReason> {
        let sent = self.rewriter.sent(seq).ok_or(DropReason::NotResent)?;
        let (packet, encoding) = kept(&sent).ok_or(DropReason::NotResent)?;
        let wire = self.wire.as_ref().ok_or(DropReason::NotResent)?;
        let resend = wire.resend.as_ref().ok_or(DropReason::NotResent)?;
        let header = wire.header_bytes(
            Some(packet),
            HeaderNeeds {
                is_bound: resend.is_bound,
                is_measured,
            },
        );
        let payload = ORIGINAL_SEQ_BYTES + payload(packet, encoding).len();
        let bytes = header + payload + sealer.rtp_overhead();
        if encoding.resend.is_none() || !self.allowance.allow(seq, bytes, at) {
            return Err(DropReason::NotResent);
        }
        let planned = Planned {
            bytes,
            numbers: sent.numbers(packet),
            encoding,
            resent: true,
        };
        Ok((planned, packet))
    }

    /// The datagram that went out as `seq`, byte for byte, for a subscriber without RTX.
    pub fn again_as_sent(&mut self, seq: u16, at: Asked) -> Option<&[u8]> {
        let datagram = self.kept.get(seq)?;
        let is_allowed = self.allowance.allow(seq, datagram.len(), at);
        is_allowed.then_some(datagram)
    }

    /// Writes and seals `planned` to `room`, which it fills: what is longer than the packet is padding.
    pub fn write(
        &mut self,
        room: &mut [u8],
        planned: Planned,
        packet: &MediaPacket,
        keys: &mut Keys<'_>,
    ) {
        let Some(wire) = &mut self.wire else {
            unreachable!("what is planned was negotiated");
        };
        let padding = room.len() - planned.bytes;
        let Planned {
            numbers, encoding, ..
        } = planned;
        let (ssrc, index, pt, is_bound) = if planned.resent {
            let (Some(resend), Some(pt)) = (&mut wire.resend, encoding.resend) else {
                unreachable!(
                    "a number of media is sealed once: what is sent again has another SSRC"
                );
            };
            (resend.ssrc, resend.next_seq(), pt, resend.is_bound)
        } else {
            (wire.ssrc, numbers.seq, encoding.pt, self.is_bound)
        };
        let header = Header {
            marker: packet.marker,
            padded: padding > 0,
            payload_type: pt,
            seq: index as u16,
            time: numbers.time,
            ssrc,
        };
        let transport_seq = wire.transport_seq(room.len(), keys, false);
        let extras = HeaderExtras {
            packet: Some(packet),
            is_bound,
            transport_seq,
            frame_number: numbers.frame_number,
        };
        let mut at = wire.write_header(room, header, &extras);
        let header_bytes = at;
        if planned.resent {
            room[at..at + ORIGINAL_SEQ_BYTES].copy_from_slice(&(numbers.seq as u16).to_be_bytes());
            at += ORIGINAL_SEQ_BYTES;
        }
        let payload = payload(packet, encoding);
        let body = &mut room[at..at + payload.len()];
        body.copy_from_slice(payload);
        if let Some(vp8) = &packet.vp8 {
            vp8.rewrite(body, numbers.picture_id, numbers.tl0_pic_idx);
        }
        if let Some(inner) = encoding.inner {
            red::set_payload_type(body, inner);
        }
        at += payload.len();
        rtp::fill_padding(&mut room[at..at + padding]);
        keys.sealer.seal_rtp(room, header_bytes, ssrc, index);
        if !planned.resent {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            self.allowance.earn(payload.len());
            if encoding.resend.is_none() && self.kind.is_video() {
                self.kept.keep(index as u16, room);
            }
        }
    }

    /// Bytes of a packet of padding alone, the longest there is; `None` when this stream can carry none.
    pub fn padding_bytes(&self, sealer: &Sealer) -> Option<usize> {
        let wire = self.wire.as_ref()?;
        let resend = wire.resend.as_ref()?;
        let (_, _) = (wire.resend_pt?, wire.ids.transport_cc?);
        let header = wire.header_bytes(
            None,
            HeaderNeeds {
                is_bound: resend.is_bound,
                is_measured: true,
            },
        );
        Some(header + rtp::MAX_PADDING_BYTES + sealer.rtp_overhead())
    }

    /// Writes a packet of padding alone to `room`, of [`padding_bytes`](Self::padding_bytes).
    pub fn write_padding(&mut self, room: &mut [u8], keys: &mut Keys<'_>) {
        let Some(wire) = &mut self.wire else {
            unreachable!("the caller asked for its size");
        };
        let transport_seq = wire.transport_seq(room.len(), keys, true);
        let (Some(resend), Some(pt)) = (&mut wire.resend, wire.resend_pt) else {
            unreachable!("the caller asked for its size");
        };
        let (ssrc, index, is_bound) = (resend.ssrc, resend.next_seq(), resend.is_bound);
        let header = Header {
            marker: false,
            padded: true,
            payload_type: pt,
            seq: index as u16,
            time: 0,
            ssrc,
        };
        let extras = HeaderExtras {
            packet: None,
            is_bound,
            transport_seq,
            frame_number: 0,
        };
        let at = wire.write_header(room, header, &extras);
        let end = room.len() - keys.sealer.rtp_overhead();
        rtp::fill_padding(&mut room[at..end]);
        keys.sealer.seal_rtp(room, at, ssrc, index);
    }

    /// What a sender report at `now` says; `None` when nothing was sent lately, or the publisher's clock is not known yet.
    pub fn report(&mut self, now: Instant) -> Option<Report<'_>> {
        self.quick_reports = self.quick_reports.saturating_sub(1);
        let wire = self.wire.as_ref().filter(|_| self.packets > 0)?;
        let (wall, rtp_time) = self.rewriter.clock(now, self.clock_hz())?;
        let ntp = ntp(wall)?;
        if self.reports.len() == REPORTS {
            self.reports.pop_back();
        }
        self.reports.push_front((compact_ntp(ntp), now));
        Some(Report {
            ssrc: wire.ssrc,
            cname: &wire.cname,
            ntp,
            rtp_time,
            packets: self.packets,
            octets: self.octets,
        })
    }

    /// True while reports are to follow each other quickly.
    pub fn wants_quick_reports(&self) -> bool {
        self.quick_reports > 0
    }

    fn clock_hz(&self) -> u32 {
        match self.kind {
            MediaKind::Video => VIDEO_CLOCK_HZ,
            MediaKind::Audio => OPUS_CLOCK_HZ,
        }
    }
}

impl Wire {
    /// Bytes of the header of `packet`, or of padding.
    fn header_bytes(&self, packet: Option<&MediaPacket>, needs: HeaderNeeds) -> usize {
        let (mut count, mut values) = (0, 0);
        let mut add = |present: bool, bytes: usize| {
            count += usize::from(present);
            values += if present { bytes } else { 0 };
        };
        add(
            self.ids.mid.is_some() && !needs.is_bound,
            usize::from(self.mid.length),
        );
        add(self.ids.transport_cc.is_some() && needs.is_measured, 2);
        let level = packet.is_some_and(|packet| packet.audio_level.is_some());
        add(self.ids.audio_level.is_some() && level, 1);
        let orientation = packet.is_some_and(|packet| packet.orientation.is_some());
        add(self.ids.orientation.is_some() && orientation, 1);
        let mut form = ExtensionForm::OneByte;
        if let Some(packet) = packet.filter(|packet| !packet.extensions.is_empty()) {
            form = self.ids.carried.form(&packet.extensions);
            for (_, _, value) in self.ids.carried.elements(&packet.extensions) {
                add(true, value.len());
            }
        }
        form.length(count, values)
    }

    fn write_header(&self, room: &mut [u8], header: Header, extras: &HeaderExtras<'_>) -> usize {
        let packet = extras.packet;
        let level = packet.and_then(|packet| packet.audio_level);
        // V in the highest bit, then the level (RFC 6464 section 3).
        let level = level.map(|(dbov, voice)| [u8::from(voice) << 7 | dbov & 0x7f]);
        let orientation = packet.and_then(|packet| packet.orientation);
        let orientation = orientation.map(|orientation| [orientation]);
        let elements: [Option<(u8, &[u8])>; 4] = [
            self.ids
                .mid
                .filter(|_| !extras.is_bound)
                .map(|id| (id, self.mid.get())),
            self.ids
                .transport_cc
                .zip(extras.transport_seq.as_ref().map(|seq| &seq[..])),
            self.ids
                .audio_level
                .zip(level.as_ref().map(|level| &level[..])),
            self.ids
                .orientation
                .zip(orientation.as_ref().map(|value| &value[..])),
        ];
        let elements = elements.into_iter().flatten();
        let Some(packet) = packet.filter(|packet| !packet.extensions.is_empty()) else {
            return header.write(room, ExtensionForm::OneByte, elements);
        };
        // A dependency descriptor with the frame number that it has here.
        let mut descriptor = [0; CARRIED_EXTENSION_BYTES];
        let mut all = packet.extensions.iter();
        let found = all.find(|(kind, _)| *kind == ExtensionKind::DependencyDescriptor);
        let descriptor = found.map(|(_, value)| {
            let copy = &mut descriptor[..value.len()];
            copy.copy_from_slice(value);
            set_frame_number(copy, extras.frame_number);
            &*copy
        });
        let carried = self.ids.carried.elements(&packet.extensions);
        let carried = carried.map(|(id, kind, value)| match (kind, descriptor) {
            (ExtensionKind::DependencyDescriptor, Some(descriptor)) => (id, descriptor),
            _ => (id, value),
        });
        let form = self.ids.carried.form(&packet.extensions);
        header.write(room, form, elements.chain(carried))
    }

    fn transport_seq(&self, bytes: usize, keys: &mut Keys<'_>, padding: bool) -> Option<[u8; 2]> {
        let (estimator, _) = keys.estimator.as_mut().zip(self.ids.transport_cc)?;
        Some(estimator.sent(bytes, keys.now, padding).to_be_bytes())
    }
}

impl MidBytes {
    fn of(mid: &str) -> Self {
        let mut bytes = [0; 16];
        let length = mid.len().min(bytes.len());
        bytes[..length].copy_from_slice(&mid.as_bytes()[..length]);
        Self {
            bytes,
            length: length as u8,
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl ExtensionIds {
    /// Those that are written to packets of `kind`.
    fn of_use(self, kind: MediaKind) -> Self {
        let is_video = kind.is_video();
        Self {
            mid: self.mid,
            // Sound is not measured: it is little, and it flows whatever the estimate says.
            transport_cc: self.transport_cc.filter(|_| is_video),
            audio_level: self.audio_level.filter(|_| !is_video),
            orientation: self.orientation.filter(|_| is_video),
            carried: self.carried,
        }
    }
}

/// Below 2^14: receivers assume a rollover count of 0, also when the first packets are lost.
fn first_seq(entropy: &mut Entropy) -> u16 {
    u16::from_ne_bytes(entropy.bytes()) & 0x3fff
}

/// What of `packet` is sent.
fn payload(packet: &MediaPacket, encoding: Encoding) -> &[u8] {
    match &packet.primary {
        Some(primary) if encoding.unwrap_red => primary,
        Some(_) | None => &packet.payload,
    }
}
