//! Sender and receiver reports (RFC 3550 section 6.4), and the compound packet that we send: SR and SDES with the
//! CNAME.

use super::header::{SENDER_REPORT, SOURCE_DESCRIPTION, header, u32_at};

const BLOCK_BYTES: usize = 24;
/// Bytes of SSRC and sender information, without the header.
const INFO_BYTES: usize = 24;
const REPORT_BYTES: usize = 4 + INFO_BYTES;
const CNAME: u8 = 1;
/// Maximum length of a CNAME: its length field is one byte (RFC 3550 section 6.5).
pub const CNAME_MAX_BYTES: usize = 255;

/// Sender information of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// SSRC of the sender's stream.
    pub ssrc: u32,
    /// Wall clock of the report: seconds since 1900 as 32.32 fixed-point number.
    pub ntp: u64,
    /// RTP timestamp at the same time.
    pub rtp_time: u32,
    /// Packets sent since the start.
    pub packets: u32,
    /// Payload bytes sent since the start.
    pub octets: u32,
}

/// Report of a receiver about one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// SSRC of the stream that the block reports on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start; duplicates can make it negative.
    pub cumulative_lost: i32,
    /// Rollover count in the upper 16 bits, highest sequence number in the lower.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the `ntp` of the last sender report, 0 without one.
    pub last_sr: u32,
    /// Time since the receipt of that report, in units of 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// Report blocks in order.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl SenderInfo {
    /// Reads the sender information. Returns also the bytes behind it, with the report blocks.
    pub(super) fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let (info, blocks) = body.split_at_checked(INFO_BYTES)?;
        let info = Self {
            ssrc: u32_at(info, 0)?,
            ntp: u64::from(u32_at(info, 4)?) << 32 | u64::from(u32_at(info, 8)?),
            rtp_time: u32_at(info, 12)?,
            packets: u32_at(info, 16)?,
            octets: u32_at(info, 20)?,
        };
        Some((info, blocks))
    }
}

impl<'a> ReportBlocks<'a> {
    /// Reads the blocks. Profile-specific extensions behind them are ignored.
    pub(super) fn read(bytes: &'a [u8], count: u8) -> Option<Self> {
        let rest = bytes.get(..usize::from(count) * BLOCK_BYTES)?;
        Some(Self { rest })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_first_chunk::<BLOCK_BYTES>()?;
        self.rest = rest;
        let lost = u32_at(block, 4)?;
        Some(ReportBlock {
            ssrc: u32_at(block, 0)?,
            fraction_lost: (lost >> 24) as u8,
            // a signed number of 24 bits
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_seq: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sr: u32_at(block, 16)?,
            delay_since_last_sr: u32_at(block, 20)?,
        })
    }
}

/// Number of bytes that [`write_sender_report`] needs for a CNAME of `cname` bytes.
pub fn sender_report_length(cname: usize) -> usize {
    REPORT_BYTES + description_length(cname)
}

/// Writes SR and SDES with the CNAME (RFC 3550 section 6.1 requires both in a compound packet). Returns the length.
///
/// `None`: `out` is shorter than [`sender_report_length`], or the CNAME is longer than [`CNAME_MAX_BYTES`].
pub fn write_sender_report(info: &SenderInfo, cname: &str, out: &mut [u8]) -> Option<usize> {
    let cname_bytes = u8::try_from(cname.len()).ok()?;
    let length = sender_report_length(cname.len());
    let (report, description) = out.get_mut(..length)?.split_at_mut(REPORT_BYTES);
    report[..4].copy_from_slice(&header(0, SENDER_REPORT, REPORT_BYTES));
    report[4..8].copy_from_slice(&info.ssrc.to_be_bytes());
    report[8..16].copy_from_slice(&info.ntp.to_be_bytes());
    report[16..20].copy_from_slice(&info.rtp_time.to_be_bytes());
    report[20..24].copy_from_slice(&info.packets.to_be_bytes());
    report[24..28].copy_from_slice(&info.octets.to_be_bytes());

    let description_header = header(1, SOURCE_DESCRIPTION, description.len());
    description[..4].copy_from_slice(&description_header);
    description[4..8].copy_from_slice(&info.ssrc.to_be_bytes());
    description[8..10].copy_from_slice(&[CNAME, cname_bytes]);
    let (name, end) = description[10..].split_at_mut(cname.len());
    name.copy_from_slice(cname.as_bytes());
    end.fill(0);
    Some(length)
}

/// Bytes of an SDES packet: header, SSRC, the item, and at least one zero byte that ends the items (RFC 3550 section
/// 6.5).
fn description_length(cname: usize) -> usize {
    (4 + 4 + 2 + cname + 1).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, packets};

    const INFO: SenderInfo = SenderInfo {
        ssrc: 0x0102_0304,
        ntp: 0x1112_1314_2122_2324,
        rtp_time: 0x3132_3334,
        packets: 0x4142_4344,
        octets: 0x5152_5354,
    };

    #[test]
    fn a_sender_report_is_laid_out_as_the_rfc_says_and_read_back() {
        let mut out = [0xff; 64];
        let length = write_sender_report(&INFO, "me@x", &mut out).unwrap();
        #[rustfmt::skip]
        let expected = [
            0x80, 200, 0, 6, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24,
            0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x53, 0x54,
            0x81, 202, 0, 3, 1, 2, 3, 4, 1, 4, b'm', b'e', b'@', b'x', 0, 0,
        ];
        // The item ends at a boundary of four bytes but for the zero that ends the list.
        assert_eq!(out[..length], expected);
        let packets: Vec<_> = packets(&out[..length]).map(Result::unwrap).collect();
        let [Packet::SenderReport { info, blocks }, Packet::Other] = &packets[..] else {
            panic!("{packets:?}");
        };
        assert_eq!(*info, INFO);
        assert_eq!(blocks.clone().count(), 0);
    }

    #[test]
    fn names_of_any_length_end_with_a_zero() {
        for length in 0..=CNAME_MAX_BYTES {
            let name = "n".repeat(length);
            let mut out = [0xff; 400];
            let end = write_sender_report(&INFO, &name, &mut out).unwrap();
            assert_eq!(end, sender_report_length(length));
            assert_eq!(out[end - 1], 0);
            assert!(packets(&out[..end]).all(|packet| packet.is_ok()));
            assert_eq!(write_sender_report(&INFO, &name, &mut out[..end - 1]), None);
        }
        let long = "n".repeat(CNAME_MAX_BYTES + 1);
        assert_eq!(write_sender_report(&INFO, &long, &mut [0; 400]), None);
    }

    #[test]
    fn receiver_reports_are_read_and_their_count_is_checked() {
        #[rustfmt::skip]
        let bytes = [
            0x81, 201, 0, 8, 0, 0, 0, 9, // one block, then a profile-specific extension
            0, 0, 0, 7, 0x40, 0xff, 0xff, 0xfe, 0, 1, 0x00, 0x05, 0, 0, 0, 90,
            0x13, 0x14, 0x21, 0x22, 0, 1, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        let Some(Ok(Packet::ReceiverReport {
            sender_ssrc,
            blocks,
        })) = packets(&bytes).next()
        else {
            panic!("no report");
        };
        let expected = ReportBlock {
            ssrc: 7,
            fraction_lost: 64,
            cumulative_lost: -2,
            highest_seq: 0x0001_0005,
            jitter: 90,
            last_sr: 0x1314_2122,
            delay_since_last_sr: 65_536,
        };
        assert_eq!(sender_ssrc, 9);
        assert_eq!(blocks.collect::<Vec<_>>(), [expected]);
        let mut lying = bytes;
        lying[0] = 0x82;
        assert!(packets(&lying).next().unwrap().is_err());
    }
}
