//! Feedback of a receiver: receiver reports, NACKs and keyframe requests (RFC 3550, RFC 4585).

/// Report about one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// SSRC of the stream.
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start.
    pub lost: u32,
    /// Rollover count and highest sequence number.
    pub highest_seq: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 without one.
    pub last_sr: u32,
    /// Time since that report, in units of 1/65,536 s.
    pub delay_since_last_sr: u32,
}

const VERSION: u8 = 2 << 6;
const RECEIVER_REPORT: u8 = 201;
const TRANSPORT_LAYER: u8 = 205;
const NACK: u8 = 1;
const PAYLOAD_SPECIFIC: u8 = 206;
const PLI: u8 = 1;
/// Maximum number of blocks of a report: its count has 5 bits.
pub const MAX_BLOCKS: usize = 31;

/// Appends a receiver report of `sender` with the first [`MAX_BLOCKS`] of `blocks`.
pub fn write_receiver_report(out: &mut Vec<u8>, sender: u32, blocks: &[Block]) {
    let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
    header(
        out,
        blocks.len() as u8,
        RECEIVER_REPORT,
        4 + blocks.len() * 24,
    );
    out.extend(sender.to_be_bytes());
    for block in blocks {
        out.extend(block.ssrc.to_be_bytes());
        let lost = block.lost.min(0x7f_ffff);
        out.extend((u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
        out.extend(block.highest_seq.to_be_bytes());
        out.extend([0; 4]); // jitter
        out.extend(block.last_sr.to_be_bytes());
        out.extend(block.delay_since_last_sr.to_be_bytes());
    }
}

/// Appends a NACK of `sender` for the packets `lost` of stream `media`, in order of their sequence numbers.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for seq in lost {
        match entries.last_mut() {
            Some((first, mask)) if (1..=16).contains(&seq.wrapping_sub(*first)) => {
                *mask |= 1 << (seq.wrapping_sub(*first) - 1);
            }
            Some(_) | None => entries.push((*seq, 0)),
        }
    }
    header(out, NACK, TRANSPORT_LAYER, 8 + entries.len() * 4);
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    for (first, mask) in entries {
        out.extend(first.to_be_bytes());
        out.extend(mask.to_be_bytes());
    }
}

/// Appends a keyframe request of `sender` for stream `media`.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    header(out, PLI, PAYLOAD_SPECIFIC, 8);
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, body_bytes: usize) {
    out.extend([VERSION | count, kind]);
    out.extend(((body_bytes / 4) as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use spillway_wire::rtcp::{Packet, packets};

    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_parser_of_the_planes() {
        let block = Block {
            ssrc: 7,
            fraction_lost: 64,
            lost: 3,
            highest_seq: 0x1_0005,
            last_sr: 5,
            delay_since_last_sr: 6,
        };
        let mut out = Vec::new();
        write_receiver_report(&mut out, 1, &[block]);
        write_nack(&mut out, 1, 7, &[65_535, 0, 15, 16, 40]);
        write_pli(&mut out, 1, 9);
        let read: Vec<_> = packets(&out).map(Result::unwrap).collect();
        let [
            Packet::ReceiverReport { blocks, .. },
            Packet::Nack { media_ssrc, lost },
            Packet::Pli { media_ssrc: 9 },
        ] = &read[..]
        else {
            panic!("{read:?}");
        };
        let blocks: Vec<_> = blocks.clone().collect();
        assert_eq!((blocks[0].ssrc, blocks[0].fraction_lost), (7, 64));
        assert_eq!(
            (blocks[0].cumulative_lost, blocks[0].highest_seq),
            (3, 0x1_0005)
        );
        assert_eq!((blocks[0].last_sr, blocks[0].delay_since_last_sr), (5, 6));
        assert_eq!(*media_ssrc, 7);
        let lost: Vec<u16> = lost.clone().collect();
        assert_eq!(lost, [65_535, 0, 15, 16, 40]);
    }
}
