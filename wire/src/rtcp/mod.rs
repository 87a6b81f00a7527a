//! RTCP as checked views over a datagram (RFC 3550, RFC 4585, RFC 5104), and the packets we write.
//!
//! Framing is strict: a wrong length field ends the datagram. Packets of unknown types are [`Packet::Other`]. SRTCP
//! must be decrypted before; the caller decides what a packet means.

mod header; // common RTCP header
mod feedback; // NACK, PLI, FIR, REMB
mod report; // sender and receiver reports
mod transport; // transport-wide feedback

#[cfg(test)]
mod properties; // properties for generated datagrams

pub use feedback::{Firs, Nacks, Remb};
pub use report::{
    CNAME_MAX_BYTES, ReportBlock, ReportBlocks, SenderInfo, sender_report_length,
    write_sender_report,
};
pub use transport::{
    DELTA_US, MAX_STATUSES, REFERENCE_US, StatusRun, StatusRuns, TransportFeedback,
    TransportHeader, write_transport_feedback,
};

use header::{
    APPLICATION_LAYER, BYE, COUNT_MASK, FIR, HEADER_BYTES, NACK, PADDING, PAYLOAD_SPECIFIC, PLI,
    RECEIVER_REPORT, SENDER_REPORT, TRANSPORT_LAYER, TRANSPORT_WIDE, VERSION, u32_at,
};

/// One packet of a compound packet.
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// SR: counters of a sender, and its reports about received streams.
    SenderReport {
        /// Clock and counters of the sender.
        info: SenderInfo,
        /// Reports about streams that the sender receives.
        blocks: ReportBlocks<'a>,
    },
    /// RR: reports about received streams.
    ReceiverReport {
        /// SSRC of the sender of the report.
        sender_ssrc: u32,
        /// Report blocks, one per stream.
        blocks: ReportBlocks<'a>,
    },
    /// NACK: packets that must be sent again.
    Nack {
        /// SSRC of the stream with lost packets.
        media_ssrc: u32,
        /// Sequence numbers of the lost packets.
        lost: Nacks<'a>,
    },
    /// PLI: a keyframe is needed.
    Pli {
        /// SSRC of the stream that needs a keyframe.
        media_ssrc: u32,
    },
    /// FIR: a keyframe is needed.
    Fir {
        /// SSRCs of the streams, each with the number of the request.
        entries: Firs<'a>,
    },
    /// REMB: the receiver's estimate of the bandwidth.
    Remb(Remb<'a>),
    /// Transport-wide feedback: the arrival time of each packet.
    TransportFeedback(TransportFeedback<'a>),
    /// BYE: a sender leaves the session.
    Bye,
    /// A packet that we do not use.
    Other,
}

/// Reason why a datagram, or the rest of it, is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than an RTCP header are left.
    #[error("{got} bytes at byte {at} are shorter than an rtcp header of 4")]
    Short {
        /// Offset of the packet in the datagram.
        at: usize,
        /// Bytes that are left in the datagram.
        got: usize,
    },
    /// The version is not 2.
    #[error("version {version} at byte {at} is not 2")]
    Version {
        /// Offset of the packet in the datagram.
        at: usize,
        /// The version in the packet's header.
        version: u8,
    },
    /// The length field exceeds the datagram.
    #[error("length field at byte {at} says {said} bytes, {got} are left")]
    Length {
        /// Offset of the packet in the datagram.
        at: usize,
        /// Bytes of the packet by its length field.
        said: usize,
        /// Bytes that are left in the datagram.
        got: usize,
    },
    /// The padding is longer than the packet, or zero.
    #[error("padding of {said} bytes at byte {at} is outside 1..={room}")]
    Padding {
        /// Offset of the packet in the datagram.
        at: usize,
        /// Padding length in the last byte.
        said: usize,
        /// Bytes after the header.
        room: usize,
    },
    /// The framing is correct, but the packet is too short for its content. Later packets can still be read.
    #[error("packet of type {kind} at byte {at} does not hold what it announces in {got} bytes")]
    Body {
        /// Offset of the packet in the datagram.
        at: usize,
        /// Packet type in the RTCP header.
        kind: u8,
        /// Bytes after the header, without padding.
        got: usize,
    },
}

/// The packets of a datagram in order. Nothing is read after a framing error.
///
/// Compound packets that do not start with a report are accepted, too (RFC 5506).
pub fn packets(bytes: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &bytes[at..];
        if rest.is_empty() {
            return None;
        }
        let frame = match Frame::split(rest, at) {
            Ok(frame) => frame,
            Err(malformed) => {
                at = bytes.len();
                return Some(Err(malformed));
            }
        };
        let packet = frame.read().ok_or(Malformed::Body {
            at,
            kind: frame.kind,
            got: frame.body.len(),
        });
        at += frame.length;
        Some(packet)
    })
}

/// A packet with checked header and padding.
struct Frame<'a> {
    kind: u8,
    /// Number of blocks, or format of a feedback message.
    count: u8,
    /// Content without header and padding.
    body: &'a [u8],
    /// Length of the whole packet in bytes.
    length: usize,
}

impl<'a> Frame<'a> {
    fn split(rest: &'a [u8], at: usize) -> Result<Self, Malformed> {
        let got = rest.len();
        let Some((header, _)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed::Short { at, got });
        };
        let version = header[0] >> 6;
        if version != VERSION >> 6 {
            return Err(Malformed::Version { at, version });
        }
        // RFC 3550 section 6.4.1: length in words of 32 bits, minus one.
        let length = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
        let Some(mut body) = rest.get(HEADER_BYTES..length) else {
            let said = length;
            return Err(Malformed::Length { at, said, got });
        };
        if header[0] & PADDING != 0 {
            // Browsers pad transport feedback by one to three bytes, so a multiple of four is not required.
            let said = usize::from(body.last().copied().unwrap_or(0));
            let room = body.len();
            body = match room.checked_sub(said) {
                Some(end) if said > 0 => &body[..end],
                Some(_) | None => return Err(Malformed::Padding { at, said, room }),
            };
        }
        Ok(Self {
            kind: header[1],
            count: header[0] & COUNT_MASK,
            body,
            length,
        })
    }

    /// Parses the body; `None` if it is too short for its counts.
    fn read(&self) -> Option<Packet<'a>> {
        let body = self.body;
        Some(match (self.kind, self.count) {
            (SENDER_REPORT, count) => {
                let (info, blocks) = SenderInfo::read(body)?;
                Packet::SenderReport {
                    info,
                    blocks: ReportBlocks::read(blocks, count)?,
                }
            }
            (RECEIVER_REPORT, count) => Packet::ReceiverReport {
                sender_ssrc: u32_at(body, 0)?,
                blocks: ReportBlocks::read(&body[4..], count)?,
            },
            (BYE, _) => Packet::Bye,
            (TRANSPORT_LAYER, NACK) => Packet::Nack {
                media_ssrc: u32_at(body, 4)?,
                lost: Nacks::read(&body[8..]),
            },
            (TRANSPORT_LAYER, TRANSPORT_WIDE) => {
                Packet::TransportFeedback(TransportFeedback::read(body)?)
            }
            (PAYLOAD_SPECIFIC, PLI) => Packet::Pli {
                media_ssrc: u32_at(body, 4)?,
            },
            (PAYLOAD_SPECIFIC, FIR) => Packet::Fir {
                entries: Firs::read(body.get(8..)?),
            },
            (PAYLOAD_SPECIFIC, APPLICATION_LAYER) => match Remb::is_one(body) {
                true => Packet::Remb(Remb::read(body)?),
                false => Packet::Other,
            },
            (_, _) => Packet::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(bytes: &[u8]) -> Vec<Result<&'static str, Malformed>> {
        let name = |packet| match packet {
            Packet::SenderReport { .. } => "sr",
            Packet::ReceiverReport { .. } => "rr",
            Packet::Nack { .. } => "nack",
            Packet::Pli { .. } => "pli",
            Packet::Fir { .. } => "fir",
            Packet::Remb(_) => "remb",
            Packet::TransportFeedback(_) => "transport",
            Packet::Bye => "bye",
            Packet::Other => "other",
        };
        packets(bytes).map(|packet| packet.map(name)).collect()
    }

    const RR: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];
    const PLI_7: [u8; 12] = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7];
    const SDES: [u8; 12] = [0x81, 202, 0, 2, 0, 0, 0, 9, 1, 1, b'x', 0];

    #[test]
    fn compounds_are_taken_apart_in_order() {
        assert_eq!(kinds(&[]), []);
        let compound = [&RR[..], &SDES, &PLI_7, &[0x80, 203, 0, 0]].concat();
        assert_eq!(
            kinds(&compound),
            [Ok("rr"), Ok("other"), Ok("pli"), Ok("bye")]
        );
        assert_eq!(kinds(&PLI_7), [Ok("pli")], "reduced size");
        assert_eq!(kinds(&[0x80, 207, 0, 0]), [Ok("other")]);
    }

    #[test]
    fn a_lying_frame_ends_the_datagram_and_a_short_body_does_not() {
        let after_rr = |tail: &[u8]| kinds(&[&RR[..], tail].concat());
        let table = [
            (&[0x80, 200][..], Malformed::Short { at: 8, got: 2 }),
            (&[0x40, 200, 0, 0], Malformed::Version { at: 8, version: 1 }),
            (
                &[0x80, 203, 0, 1],
                Malformed::Length {
                    at: 8,
                    said: 8,
                    got: 4,
                },
            ),
            (
                &[0xa0, 203, 0, 1, 0, 0, 0, 5],
                Malformed::Padding {
                    at: 8,
                    said: 5,
                    room: 4,
                },
            ),
            (
                &[0xa0, 203, 0, 0],
                Malformed::Padding {
                    at: 8,
                    said: 0,
                    room: 0,
                },
            ),
        ];
        for (tail, malformed) in table {
            assert_eq!(after_rr(tail), [Ok("rr"), Err(malformed)]);
            let more = [tail, &PLI_7].concat();
            assert!(after_rr(&more).len() <= 3);
        }
        let short = [&[0x81, 206, 0, 1, 0, 0, 0, 9][..], &RR].concat();
        let body = Malformed::Body {
            at: 0,
            kind: 206,
            got: 4,
        };
        assert_eq!(kinds(&short), [Err(body), Ok("rr")]);
    }

    #[test]
    fn padding_belongs_to_no_packet() {
        let padded = [
            0xa1, 205, 0, 4, 0, 0, 0, 9, 0, 0, 0, 7, 0, 5, 0, 0, 0, 0, 0, 4,
        ];
        let Some(Ok(Packet::Nack { lost, .. })) = packets(&padded).next() else {
            panic!("no nack");
        };
        assert_eq!(lost.collect::<Vec<_>>(), [5]);
    }
}
