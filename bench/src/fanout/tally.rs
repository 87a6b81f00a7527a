//! Packets that receivers got: all are counted by their cleartext header, a sample is decrypted.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::payload::{self, Damage};
use crate::net::sequence::Sequence;

/// Packets of one subscriber.
#[derive(Debug, Default)]
pub struct Received {
    streams: Vec<(u32, Sequence)>,
    /// Number of all RTP datagrams.
    pub datagrams: u64,
    /// UDP payload bytes of these.
    pub bytes: u64,
    /// Retransmissions and padding on an SSRC of their own.
    pub rtx: u64,
    rtx_bytes: u64,
}

/// The sum over subscribers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Number of distinct media packets.
    pub packets: u64,
    /// RTP datagrams of any kind.
    pub datagrams: u64,
    /// Bytes of the distinct media packets.
    pub bytes: u64,
    /// Packets on retransmission SSRCs.
    pub rtx: u64,
    /// Bytes of the packets on retransmission SSRCs.
    pub rtx_bytes: u64,
    /// Media packets missing between received ones.
    pub gaps: u64,
    /// Media packets that arrived twice.
    pub duplicates: u64,
    /// Media packets that arrived after a later one.
    pub reordered: u64,
}

/// Measurements of the decrypted sample.
#[derive(Debug)]
pub struct Sample {
    /// Latency from the publisher's send to the kernel's receipt, microseconds.
    pub latency_us: Histogram<u64>,
    /// Latency by the second in which the packet was sent, since the Unix epoch.
    by_second: BTreeMap<u64, Histogram<u64>>,
    /// Packets checked byte for byte.
    pub checked: u64,
    /// Number of damaged packets.
    pub damaged: u64,
    /// The first damage that was found.
    pub first_damage: Option<Damage>,
}

/// Fields of an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// RTP payload type, 7 bits.
    pub pt: u8,
    /// RTP sequence number, 16 bits.
    pub seq: u16,
    /// SSRC of the packet.
    pub ssrc: u32,
}

/// Protocol of a datagram, by its first bytes (RFC 7983 and RFC 5761 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram {
    /// An RTP packet with this header.
    Rtp(RtpHeader),
    /// RTCP: reports and feedback.
    Rtcp,
    /// STUN or DTLS, for the session layer.
    Other,
}

const RTP_HEADER_BYTES: usize = 12;
const MAX_LATENCY_US: u64 = 60_000_000;

impl Datagram {
    /// Classifies a datagram by its first bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let Some(header) = bytes.first_chunk::<RTP_HEADER_BYTES>() else {
            return Self::Other;
        };
        match (header[0], header[1]) {
            (128..=191, 192..=223) => Self::Rtcp,
            (128..=191, pt) => Self::Rtp(RtpHeader {
                pt: pt & 0x7f,
                seq: u16::from_be_bytes([header[2], header[3]]),
                ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            }),
            _ => Self::Other,
        }
    }
}

impl Received {
    /// Counts a media datagram of `bytes`; `rtx` are the payload types of retransmissions, as bits.
    pub fn note(&mut self, header: RtpHeader, bytes: usize, rtx: u128) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
        if rtx >> header.pt & 1 == 1 {
            self.rtx += 1;
            self.rtx_bytes += bytes as u64;
            return;
        }
        match self
            .streams
            .iter_mut()
            .find(|(ssrc, _)| *ssrc == header.ssrc)
        {
            Some((_, sequence)) => sequence.note(header.seq),
            None => {
                let mut sequence = Sequence::default();
                sequence.note(header.seq);
                self.streams.push((header.ssrc, sequence));
            }
        }
    }

    /// Streams with received media.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Sets all counters to zero.
    pub fn restart(&mut self) {
        self.streams
            .iter_mut()
            .for_each(|(_, sequence)| sequence.restart());
        (self.datagrams, self.bytes) = (0, 0);
        (self.rtx, self.rtx_bytes) = (0, 0);
    }

    /// Adds its counts to `totals`.
    pub fn add_to(&self, totals: &mut Totals) {
        totals.datagrams += self.datagrams;
        totals.bytes += self.bytes;
        totals.rtx += self.rtx;
        totals.rtx_bytes += self.rtx_bytes;
        for (_, sequence) in &self.streams {
            totals.packets += sequence.received;
            totals.gaps += sequence.gaps();
            totals.duplicates += sequence.duplicates;
            totals.reordered += sequence.reordered;
        }
    }
}

impl Sample {
    /// A sample without values.
    pub fn new() -> Self {
        Self {
            latency_us: latencies(),
            by_second: BTreeMap::new(),
            checked: 0,
            damaged: 0,
            first_damage: None,
        }
    }

    /// The median of the 99th percentiles of each second, in microseconds. A short stop of the host, as on virtual
    /// machines, affects only a few seconds.
    pub fn typical_p99_us(&self) -> u64 {
        let whole = self
            .by_second
            .values()
            .filter(|second| second.len() >= ENOUGH);
        let mut p99s: Vec<u64> = whole.map(|second| second.value_at_quantile(0.99)).collect();
        p99s.sort_unstable();
        let middle = p99s.get(p99s.len() / 2).copied();
        middle.unwrap_or_else(|| self.latency_us.value_at_quantile(0.99))
    }

    /// A payload that arrived at `at` (since the Unix epoch).
    pub fn note(&mut self, payload: &[u8], at: Duration) {
        self.checked += 1;
        match payload::check(payload) {
            Ok(stamp) => {
                let latency = at.saturating_sub(stamp.made).as_micros();
                let latency = u64::try_from(latency).unwrap_or(u64::MAX);
                let latency = latency.clamp(1, MAX_LATENCY_US);
                self.latency_us.saturating_record(latency);
                let second = self.by_second.entry(stamp.made.as_secs());
                second.or_insert_with(latencies).saturating_record(latency);
            }
            Err(damage) => {
                self.damaged += 1;
                self.first_damage.get_or_insert(damage);
            }
        }
    }
}

/// Minimum number of packets in a second for a percentile.
const ENOUGH: u64 = 200;

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are in order")
}

impl Default for Sample {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(pt: u8, seq: u16, ssrc: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, pt];
        bytes.extend(seq.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn datagrams_are_told_apart() {
        let (pt, seq, ssrc) = (96, 7, 9);
        assert_eq!(
            Datagram::of(&rtp(96, 7, 9)),
            Datagram::Rtp(RtpHeader { pt, seq, ssrc })
        );
        assert_eq!(
            Datagram::of(&rtp(96 | 0x80, 7, 9)),
            Datagram::of(&rtp(96, 7, 9))
        );
        assert_eq!(Datagram::of(&rtp(201, 7, 9)), Datagram::Rtcp);
        assert_eq!(Datagram::of(&[0; 20]), Datagram::Other);
        assert_eq!(Datagram::of(&[0x80; 3]), Datagram::Other);
    }

    #[test]
    fn streams_and_retransmissions_are_counted_apart() {
        let mut received = Received::default();
        for (pt, seq, ssrc) in [
            (96, 1, 1),
            (96, 2, 1),
            (97, 900, 2),
            (96, 4, 1),
            (96, 50, 3),
        ] {
            received.note(RtpHeader { pt, seq, ssrc }, 100, 1 << 97);
        }
        let mut totals = Totals::default();
        received.add_to(&mut totals);
        assert_eq!(
            (totals.packets, totals.datagrams, totals.bytes),
            (4, 5, 500)
        );
        assert_eq!((totals.rtx, totals.gaps, received.streams()), (1, 1, 2));
    }
}
