//! One outgoing SSRC: its numbers, counters and header extensions. Writes and encrypts its packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spillway_estimate::Estimator;
use spillway_mutants::{Mutant, is_planted};
use spillway_wire::red;
use spillway_wire::rtcp::ReportBlock;
use spillway_wire::rtp::{self, Header};

use super::header::{ExtensionIds, HeaderExtras, HeaderLayout, HeaderNeeds};
use super::kept::Kept;
use super::ntp::{compact_ntp, ntp};
use super::resend::{Allowance, Resend, RetransmitRequest};
use super::rewriter::{Rewriter, Rewritten, Sent, Splice};
use crate::drop_reason::DropReason;
use crate::io::entropy::Entropy;
use crate::media::codec::MediaKind;
use crate::media::packet::MediaPacket;
use crate::media::subscription::{Encoding, Verdict};
use crate::srtp::Sealer;

/// Clock rate of all video codecs (RFC 7741, RFC 9628, RFC 6184 and the AV1 payload format).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Clock rate of Opus at any sampling rate (RFC 7587 section 4.1).
const OPUS_CLOCK_HZ: u32 = 48_000;
/// The original sequence number in front of a retransmitted payload (RFC 4588 section 4).
const ORIGINAL_SEQ_BYTES: usize = 2;

/// An outgoing stream; lives as long as its m-line.
pub struct Stream {
    kind: MediaKind,
    rewriter: Rewriter,
    wire: Option<Wire>,
    /// Packets sent, for sender reports; wraps.
    packets: u32,
    /// Payload bytes sent, for sender reports; wraps.
    octets: u32,
    /// True if the receiver has reported on the SSRC, so packets need no mid.
    is_bound: bool,
    /// RTP timestamp of the frame that is being sent, to drop frames as a whole.
    frame: Option<u32>,
    /// True while the current frame is dropped.
    is_shedding: bool,
    /// Retransmission allowance of the stream.
    allowance: Allowance,
    /// Sealed datagrams for a subscriber without RTX.
    kept: Kept,
    /// The latest sender reports: middle 32 bits of their NTP time, and time of sending.
    reports: VecDeque<(u32, Instant)>,
    /// Number of sender reports still to be sent at the quick interval.
    quick_reports: u8,
}

/// Maximum number of sender reports that receiver reports can refer to.
const REPORTS: usize = 32;
/// Number of quick reports after the source of the stream changed. Receivers synchronize audio and video by the latest
/// reports (libwebrtc by twenty), and the new source may have another publisher's clock.
const QUICK_REPORTS: u8 = 20;
/// Quick reports after the first packet: libwebrtc starts lip sync with the second report.
const FIRST_QUICK_REPORTS: u8 = 2;

/// The SSRCs of an m-line.
#[derive(Debug, Clone, Copy)]
pub struct Ssrcs {
    /// SSRC of the media packets.
    pub media: u32,
    /// SSRC of retransmissions (RFC 4588), if negotiated.
    pub rtx: Option<u32>,
}

/// Negotiated values of an m-line.
#[derive(Debug, Clone, Copy)]
pub struct Negotiated<'a> {
    /// The mid of the m-line.
    pub mid: &'a str,
    /// CNAME of the source in reports.
    pub cname: &'a str,
    /// SSRCs of media and retransmissions.
    pub ssrcs: Ssrcs,
    /// Identifiers of the negotiated header extensions.
    pub extensions: ExtensionIds,
}

/// Negotiated values that are written into each packet.
struct Wire {
    ssrc: u32,
    resend: Option<Resend>,
    /// Payload type of retransmissions of the latest packet.
    resend_pt: Option<u8>,
    cname: Box<str>,
    header: HeaderLayout,
}

/// Values of a sender report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// SSRC of the reported stream.
    pub ssrc: u32,
    /// CNAME of the stream's source.
    pub cname: &'a str,
    /// The publisher's wall clock as NTP timestamp.
    pub ntp: u64,
    /// The outgoing RTP timestamp at that wall clock time.
    pub rtp_time: u32,
    /// Packets sent so far; wraps.
    pub packets: u32,
    /// Payload bytes sent so far; wraps.
    pub octets: u32,
}

/// A packet with its outgoing numbers and its size, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Size of the datagram without padding, in bytes.
    pub bytes: usize,
    numbers: Rewritten,
    encoding: Encoding,
    resent: bool,
}

/// Bytes that sealing adds to a packet.
#[derive(Debug, Clone, Copy)]
pub struct SealCost {
    /// Bytes that sealing adds behind the payload.
    pub overhead: usize,
    /// True if the packet has a transport-wide sequence number.
    pub is_measured: bool,
}

/// Session-wide state for writing packets: keys, estimator and time.
pub struct Keys<'a> {
    /// Encrypts packets with the session's keys.
    pub sealer: &'a mut Sealer,
    /// Bandwidth estimator that counts sent packets.
    pub estimator: Option<&'a mut Estimator>,
    /// Time when the packet leaves.
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

    /// Sets the negotiated SSRCs, m-line and extensions. Sequence numbers continue, because they belong to the SSRC.
    pub fn negotiated(&mut self, line: &Negotiated<'_>, entropy: &mut Entropy) {
        let Ssrcs { media: ssrc, rtx } = line.ssrcs;
        let known = self.wire.take();
        let is_same = known.as_ref().is_none_or(|wire| wire.ssrc == ssrc);
        assert!(
            is_same,
            "an m-line keeps its SSRC: its numbers are used up under it"
        );
        let known = known.filter(|_| !is_planted(Mutant::RtxNumbersRestart));
        let resend = known.and_then(|wire| wire.resend);
        let resend = resend.or_else(|| Some(Resend::new(rtx?, first_seq(entropy))));
        self.wire = Some(Wire {
            ssrc,
            resend,
            resend_pt: None,
            cname: line.cname.into(),
            header: HeaderLayout::new(line.mid, line.extensions, self.kind),
        });
    }

    /// Payload bytes of video sent so far; wraps.
    pub fn video_octets(&self) -> u32 {
        if self.kind.is_video() { self.octets } else { 0 }
    }

    /// True when packets of the stream may carry transport-wide sequence numbers.
    pub fn can_be_measured(&self) -> bool {
        self.wire
            .as_ref()
            .is_some_and(|wire| wire.header.is_measured())
    }

    /// Handles a report block about the media SSRC or its RTX SSRC. Returns the RTT, if the block refers to one of our
    /// sender reports (RFC 3550 section 6.4.1).
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

    /// True if `packet` is dropped because the socket is full. Frames are dropped whole: the decision for the first
    /// packet holds for all.
    pub fn must_drop(&mut self, packet: &MediaPacket, is_full: bool) -> bool {
        if self.frame != Some(packet.time) {
            self.frame = Some(packet.time);
            self.is_shedding = is_full && self.kind.is_video();
        }
        self.is_shedding
    }

    /// Assigns outgoing numbers and size to `packet`.
    pub fn plan(
        &mut self,
        packet: &MediaPacket,
        verdict: Verdict,
        encoding: Encoding,
        seal: SealCost,
    ) -> Result<Planned, DropReason> {
        let is_measured = seal.is_measured;
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
        let header = wire.header.bytes(
            Some(packet),
            HeaderNeeds {
                is_bound: self.is_bound,
                is_measured,
            },
        );
        let payload = payload(packet, encoding).len();
        Ok(Planned {
            bytes: header + payload + seal.overhead,
            numbers,
            encoding,
            resent: false,
        })
    }

    /// Plans a retransmission of the packet with sequence number `seq`. `kept` returns the packet from the history with
    /// its encoding; `None` if the history has it no longer.
    pub fn plan_retransmission<'p>(
        &mut self,
        seq: u16,
        at: RetransmitRequest,
        seal: SealCost,
        kept: impl FnOnce(&Sent) -> Option<(&'p MediaPacket, Encoding)>,
    ) -> Result<(Planned, &'p MediaPacket), DropReason> {
        let sent = self.rewriter.sent(seq).ok_or(DropReason::NotResent)?;
        let (packet, encoding) = kept(&sent).ok_or(DropReason::NotResent)?;
        let wire = self.wire.as_ref().ok_or(DropReason::NotResent)?;
        let resend = wire.resend.as_ref().ok_or(DropReason::NotResent)?;
        let header = wire.header.bytes(
            Some(packet),
            HeaderNeeds {
                is_bound: resend.is_bound,
                is_measured: seal.is_measured,
            },
        );
        let payload = ORIGINAL_SEQ_BYTES + payload(packet, encoding).len();
        let bytes = header + payload + seal.overhead;
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

    /// The sealed datagram with sequence number `seq`, for a subscriber without RTX.
    pub fn sent_datagram(&mut self, seq: u16, at: RetransmitRequest) -> Option<&[u8]> {
        let datagram = self.kept.get(seq)?;
        let is_allowed = self.allowance.allow(seq, datagram.len(), at);
        is_allowed.then_some(datagram)
    }

    /// Writes and seals `planned` to `room`. Fills the rest of `room` with padding.
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
        let mut at = wire.header.write(room, header, &extras);
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

    /// Size in bytes of the longest padding packet; `None` when this stream cannot carry padding.
    pub fn padding_bytes(&self, sealer: &Sealer) -> Option<usize> {
        let wire = self.wire.as_ref()?;
        let resend = wire.resend.as_ref()?;
        let _ = wire.resend_pt?;
        if !wire.header.is_measured() {
            return None;
        }
        let header = wire.header.bytes(
            None,
            HeaderNeeds {
                is_bound: resend.is_bound,
                is_measured: true,
            },
        );
        Some(header + rtp::MAX_PADDING_BYTES + sealer.rtp_overhead())
    }

    /// Writes a padding packet to `room`, whose length is [`padding_bytes`](Self::padding_bytes).
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
        let at = wire.header.write(room, header, &extras);
        let end = room.len() - keys.sealer.rtp_overhead();
        rtp::fill_padding(&mut room[at..end]);
        keys.sealer.seal_rtp(room, at, ssrc, index);
    }

    /// The sender report at `now`; `None` if nothing was sent recently, or if the publisher's clock is unknown.
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

    /// True while sender reports must be sent at the quick interval.
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
    fn transport_seq(&self, bytes: usize, keys: &mut Keys<'_>, padding: bool) -> Option<[u8; 2]> {
        let estimator = keys.estimator.as_mut();
        let estimator = estimator.filter(|_| self.header.is_measured())?;
        Some(estimator.sent(bytes, keys.now, padding).to_be_bytes())
    }
}

/// A random first sequence number below 2^14: receivers assume a rollover count of 0, even if the first packets are
/// lost.
fn first_seq(entropy: &mut Entropy) -> u16 {
    u16::from_ne_bytes(entropy.bytes()) & 0x3fff
}

/// Payload bytes of `packet` in this encoding.
fn payload(packet: &MediaPacket, encoding: Encoding) -> &[u8] {
    match &packet.primary {
        Some(primary) if encoding.unwrap_red => primary,
        Some(_) | None => &packet.payload,
    }
}
