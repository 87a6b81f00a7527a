//! RTCP packets of all kinds, with the content that must be read from them.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::rtcp::header::{BYE, PADDING, header};
use crate::rtcp::*;

/// The content of a packet, without the bytes that it is read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Sender(SenderInfo, Vec<ReportBlock>),
    Receiver(u32, Vec<ReportBlock>),
    Nack(u32, Vec<u16>),
    Pli(u32),
    Fir(Vec<(u32, u8)>),
    Remb(u64, Vec<u32>),
    Feedback(TransportHeader, Vec<Option<i32>>),
    Bye,
    Other,
}

impl Content {
    pub(super) fn of(packet: Packet<'_>) -> Self {
        match packet {
            Packet::SenderReport { info, blocks } => Self::Sender(info, blocks.collect()),
            Packet::ReceiverReport {
                sender_ssrc,
                blocks,
            } => Self::Receiver(sender_ssrc, blocks.collect()),
            Packet::Nack { media_ssrc, lost } => Self::Nack(media_ssrc, lost.collect()),
            Packet::Pli { media_ssrc } => Self::Pli(media_ssrc),
            Packet::Fir { entries } => Self::Fir(entries.collect()),
            Packet::Remb(remb) => Self::Remb(remb.bps, remb.ssrcs().collect()),
            Packet::TransportFeedback(feedback) => {
                let ticks = feedback.arrivals().map(|(_, ticks)| ticks);
                Self::Feedback(*feedback.header(), ticks.collect())
            }
            Packet::Bye => Self::Bye,
            Packet::Other => Self::Other,
        }
    }
}

pub(super) fn read(bytes: &[u8]) -> Vec<Content> {
    packets(bytes)
        .map(|packet| Content::of(packet.unwrap()))
        .collect()
}

/// Packets with the bytes that they are read from.
#[derive(Debug, Clone)]
pub(super) struct Compound(pub(super) Vec<(Content, Vec<u8>)>);

impl Compound {
    pub(super) fn concat_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    pub(super) fn contents(&self) -> Vec<Content> {
        self.0.iter().map(|(content, _)| content.clone()).collect()
    }
}

pub(super) fn compound() -> impl Strategy<Value = Compound> {
    vec(packet(), 0..6).prop_map(Compound)
}

fn packet() -> impl Strategy<Value = (Content, Vec<u8>)> {
    let padded = (unpadded(), 0..4_usize).prop_map(|((content, kind, count, mut body), words)| {
        let padding = words * 4;
        body.resize(body.len() + padding, 0);
        let mut bytes = header(count, kind, 4 + body.len()).to_vec();
        if let Some(last) = body.last_mut().filter(|_| padding > 0) {
            *last = padding as u8;
            bytes[0] |= PADDING;
        }
        bytes.extend(body);
        (content, bytes)
    });
    let feedback = (transport_header(), deltas(60)).prop_map(|(head, deltas)| {
        let mut out = vec![0; 64 + deltas.len() * 4];
        let length = write_transport_feedback(&head, &deltas, &mut out).unwrap();
        out.truncate(length);
        (Content::Feedback(head, deltas), out)
    });
    prop_oneof![8 => padded, 1 => feedback]
}

/// A packet of each kind but one: its content, type, count, and the bytes behind the header.
type Unpadded = (Content, u8, u8, Vec<u8>);

fn unpadded() -> impl Strategy<Value = Unpadded> {
    let bye = (0..4_u8, any::<[u32; 4]>())
        .prop_map(|(count, ssrcs)| (Content::Bye, BYE, count, big_endian(&ssrcs)));
    let other = (
        prop_oneof![192..200_u8, Just(202), Just(204), 207..=223_u8],
        0..32_u8,
        extension(),
    )
        .prop_map(|(kind, count, body)| (Content::Other, kind, count, body));
    prop_oneof![2 => reports(), 4 => feedback(), 1 => bye, 1 => other]
}

fn reports() -> impl Strategy<Value = Unpadded> {
    let blocks = || vec(report_block(), 0..4);
    let sender = (sender_info(), blocks(), extension()).prop_map(|(info, blocks, extension)| {
        let ntp = [(info.ntp >> 32) as u32, info.ntp as u32];
        let words = [
            info.ssrc,
            ntp[0],
            ntp[1],
            info.rtp_time,
            info.packets,
            info.octets,
        ];
        let body = [big_endian(&words), blocks_bytes(&blocks), extension].concat();
        let count = blocks.len() as u8;
        (Content::Sender(info, blocks), SENDER_REPORT, count, body)
    });
    let receiver = (any::<u32>(), blocks(), extension()).prop_map(|(ssrc, blocks, extension)| {
        let body = [big_endian(&[ssrc]), blocks_bytes(&blocks), extension].concat();
        let count = blocks.len() as u8;
        (
            Content::Receiver(ssrc, blocks),
            RECEIVER_REPORT,
            count,
            body,
        )
    });
    prop_oneof![sender, receiver]
}

fn feedback() -> impl Strategy<Value = Unpadded> {
    let target = |ssrc: u32| big_endian(&[9, ssrc]);
    let blp = prop_oneof![any::<u16>(), (0..16).prop_map(|bit| 1_u16 << bit), Just(0)];
    let nack = (any::<u32>(), vec((any::<u16>(), blp), 0..5)).prop_map(move |(ssrc, entries)| {
        let words: Vec<_> = entries
            .iter()
            .map(|(pid, blp)| u32::from(*pid) << 16 | u32::from(*blp))
            .collect();
        let lost = entries.iter().flat_map(|&(pid, blp)| {
            let after = (0..16).filter(move |bit| blp & 1 << bit != 0);
            std::iter::once(pid).chain(after.map(move |bit| pid.wrapping_add(bit + 1)))
        });
        let body = [target(ssrc), big_endian(&words)].concat();
        (
            Content::Nack(ssrc, lost.collect()),
            TRANSPORT_LAYER,
            NACK,
            body,
        )
    });
    let pli = any::<u32>()
        .prop_map(move |ssrc| (Content::Pli(ssrc), PAYLOAD_SPECIFIC, PLI, target(ssrc)));
    let fir = vec(any::<(u32, u8)>(), 0..4).prop_map(move |entries| {
        let words: Vec<_> = entries
            .iter()
            .flat_map(|(ssrc, number)| [*ssrc, u32::from(*number) << 24])
            .collect();
        let body = [target(0), big_endian(&words)].concat();
        (Content::Fir(entries), PAYLOAD_SPECIFIC, FIR, body)
    });
    let remb = (0..64_u32, 0..0x4_0000_u32, vec(any::<u32>(), 0..4)).prop_map(
        move |(exponent, mantissa, ssrcs)| {
            let bps = u128::from(mantissa) << exponent;
            let bps = u64::try_from(bps).unwrap_or(u64::MAX);
            let number = (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa;
            let body = [
                target(0),
                b"REMB".to_vec(),
                big_endian(&[number]),
                big_endian(&ssrcs),
            ]
            .concat();
            (
                Content::Remb(bps, ssrcs),
                PAYLOAD_SPECIFIC,
                APPLICATION_LAYER,
                body,
            )
        },
    );
    prop_oneof![nack, pli, fir, remb]
}

/// Bytes behind the content that a profile may define.
fn extension() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u32>(), 0..3).prop_map(|words| big_endian(&words))
}

fn big_endian(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(super) fn sender_info() -> impl Strategy<Value = SenderInfo> {
    any::<(u32, u64, u32, u32, u32)>().prop_map(|(ssrc, ntp, rtp_time, packets, octets)| {
        SenderInfo {
            ssrc,
            ntp,
            rtp_time,
            packets,
            octets,
        }
    })
}

fn report_block() -> impl Strategy<Value = ReportBlock> {
    let lost = -0x80_0000..0x80_0000_i32;
    (any::<(u32, u8, u32, u32, u32, u32)>(), lost).prop_map(
        |(
            (ssrc, fraction_lost, highest_seq, jitter, last_sr, delay_since_last_sr),
            cumulative_lost,
        )| ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost,
            highest_seq,
            jitter,
            last_sr,
            delay_since_last_sr,
        },
    )
}

fn blocks_bytes(blocks: &[ReportBlock]) -> Vec<u8> {
    let words = blocks.iter().flat_map(|block| {
        let lost = u32::from(block.fraction_lost) << 24 | block.cumulative_lost as u32 & 0xff_ffff;
        [
            block.ssrc,
            lost,
            block.highest_seq,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        ]
    });
    big_endian(&words.collect::<Vec<_>>())
}

pub(super) fn transport_header() -> impl Strategy<Value = TransportHeader> {
    (any::<(u32, u32, u16, u8)>(), 0..0x100_0000_u32).prop_map(
        |((sender_ssrc, media_ssrc, base_seq, feedback_count), reference_time)| TransportHeader {
            sender_ssrc,
            media_ssrc,
            base_seq,
            reference_time,
            feedback_count,
        },
    )
}

/// Arrival times in runs of equal status, each of up to `longest` packets, and without runs.
pub(super) fn deltas(longest: usize) -> impl Strategy<Value = Vec<Option<i32>>> {
    let ticks = || {
        prop_oneof![
            Just(None),
            (0..0x100).prop_map(Some),
            any::<i16>().prop_map(|large| Some(large.into()))
        ]
    };
    let runs = vec((ticks(), 1..=longest), 0..5);
    let runs = runs.prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(ticks, count)| vec![ticks; count])
            .collect()
    });
    prop_oneof![runs, vec(ticks(), 0..60)]
}
