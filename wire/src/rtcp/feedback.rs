//! Feedback of a receiver: NACK, PLI, FIR, REMB (RFC 4585, RFC 5104, draft-alvestrand-rmcat-remb-03).

use super::header::u32_at;

/// Sequence numbers in a NACK; each entry of four bytes has at most 17.
#[derive(Debug, Clone)]
pub struct Nacks<'a> {
    rest: &'a [u8],
    /// The sequence number of the lowest bit of `mask`.
    next: u16,
    mask: u32,
}

/// Entries of a FIR: SSRC, and a request number that stays the same when the request is repeated.
#[derive(Debug, Clone)]
pub struct Firs<'a> {
    rest: &'a [u8],
}

/// REMB: the receiver's estimate of the bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Bits per second for all streams together.
    pub bps: u64,
    ssrcs: &'a [u8],
}

impl<'a> Nacks<'a> {
    pub(super) fn read(entries: &'a [u8]) -> Self {
        Self {
            rest: entries,
            next: 0,
            mask: 0,
        }
    }
}

impl Iterator for Nacks<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (entry, rest) = self.rest.split_first_chunk::<4>()?;
            self.rest = rest;
            self.next = u16::from_be_bytes([entry[0], entry[1]]);
            // RFC 4585 section 6.2.1: PID is lost, and PID + i + 1 for each bit i of BLP.
            self.mask = u32::from(u16::from_be_bytes([entry[2], entry[3]])) << 1 | 1;
        }
        let skipped = self.mask.trailing_zeros();
        let seq = self.next.wrapping_add(skipped as u16);
        self.mask >>= skipped + 1;
        self.next = seq.wrapping_add(1);
        Some(seq)
    }
}

impl<'a> Firs<'a> {
    pub(super) fn read(entries: &'a [u8]) -> Self {
        Self { rest: entries }
    }
}

impl Iterator for Firs<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some((u32_at(entry, 0)?, entry[4]))
    }
}

impl<'a> Remb<'a> {
    pub(super) fn is_one(body: &[u8]) -> bool {
        body.get(8..12) == Some(b"REMB")
    }

    /// Section 2.2 of the draft: 6 bits of exponent, 18 bits of mantissa.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let word = u32_at(body, 12)?;
        let count = (word >> 24) as usize;
        let exponent = word >> 18 & 0x3f;
        let mantissa = u64::from(word & 0x3_ffff);
        let bps = match mantissa.leading_zeros() >= exponent {
            true => mantissa << exponent,
            false => u64::MAX,
        };
        let ssrcs = body.get(16..16 + count * 4)?;
        Some(Self { bps, ssrcs })
    }

    /// The SSRCs that the estimate is for.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (ssrcs, _) = self.ssrcs.as_chunks::<4>();
        ssrcs.iter().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}

#[cfg(test)]
mod tests {
    use crate::rtcp::{Packet, packets};

    #[test]
    fn nacks_name_the_packet_and_the_sixteen_after_it() {
        let table: [(&[u8], &[u16]); 4] = [
            (&[0, 5, 0, 0], &[5]),
            (&[0, 5, 0x80, 0x01], &[5, 6, 21]),
            (&[0xff, 0xff, 0, 0x03, 0, 9, 0, 1], &[65_535, 0, 1, 9, 10]),
            (&[], &[]),
        ];
        for (entries, expected) in table {
            let length = (8 + entries.len()) as u8 / 4;
            let mut bytes = vec![0x81, 205, 0, length, 0, 0, 0, 9, 0, 0, 0, 7];
            bytes.extend(entries);
            let Some(Ok(Packet::Nack { media_ssrc, lost })) = packets(&bytes).next() else {
                panic!("no nack");
            };
            assert_eq!(media_ssrc, 7);
            assert_eq!(lost.collect::<Vec<_>>(), expected);
        }
        let mut all = vec![0x81, 205, 0, 3, 0, 0, 0, 9, 0, 0, 0, 7, 0, 5, 0xff, 0xff];
        let Some(Ok(Packet::Nack { lost, .. })) = packets(&all).next() else {
            panic!("no nack");
        };
        assert!(lost.eq(5..=21));
        all[3] = 1;
        assert!(packets(&all).next().unwrap().is_err());
    }

    #[test]
    fn keyframe_requests_name_their_streams() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7];
        assert!(matches!(
            packets(&pli).next(),
            Some(Ok(Packet::Pli { media_ssrc: 7 }))
        ));
        #[rustfmt::skip]
        let fir = [
            0x84, 206, 0, 6, 0, 0, 0, 9, 0, 0, 0, 0,
            0, 0, 0, 7, 3, 0, 0, 0, 0, 0, 0, 8, 0xff, 0, 0, 0,
        ];
        let Some(Ok(Packet::Fir { entries })) = packets(&fir).next() else {
            panic!("no fir");
        };
        assert_eq!(entries.collect::<Vec<_>>(), [(7, 3), (8, 255)]);
    }

    #[test]
    fn remb_is_mantissa_and_exponent() {
        let table: [([u8; 3], u64); 4] = [
            ([0x00, 0x00, 0x01], 1),
            ([0x0b, 0xd0, 0x90], 0x3_d090 << 2), // 1 Mb/s
            ([0xff, 0xff, 0xff], u64::MAX),
            ([0xfc, 0x00, 0x01], 1 << 63),
        ];
        for (number, bps) in table {
            let mut bytes = vec![0x8f, 206, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0];
            bytes.extend(b"REMB\x01");
            bytes.extend(number);
            bytes.extend([0, 0, 0, 7]);
            let Some(Ok(Packet::Remb(remb))) = packets(&bytes).next() else {
                panic!("no remb");
            };
            assert_eq!(remb.bps, bps, "{number:02x?}");
            assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [7]);
            bytes[16] = 2;
            assert!(packets(&bytes).next().unwrap().is_err(), "lying count");
        }
    }
}
