//! Transport-wide feedback: the arrival time of each packet of a path
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use super::header::{PADDING, TRANSPORT_LAYER, TRANSPORT_WIDE, header, u16_at, u32_at};

/// Microseconds per unit of arrival times between packets.
pub const DELTA_US: i64 = 250;
/// Microseconds per unit of [`TransportFeedback::reference_time`].
pub const REFERENCE_US: i64 = 64_000;
/// Maximum number of packets in one feedback.
pub const MAX_STATUSES: usize = u16::MAX as usize;

/// Bytes before the chunks: SSRCs, base, count, reference time and feedback count.
const FIXED_BYTES: usize = 16;
const MAX_RUN: usize = 0x1fff;
const BITS_PER_VECTOR: usize = 14;
const PAIRS_PER_VECTOR: usize = 7;
const VECTOR: u16 = 1 << 15;
const PAIRS: u16 = 1 << 14;

/// A feedback whose chunks and deltas were checked, so that reading them cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    header: TransportHeader,
    statuses: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// The fields of a feedback before its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportHeader {
    /// SSRC of the sender of the feedback.
    pub sender_ssrc: u32,
    /// SSRC of one of the streams; not meaningful.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first packet.
    pub base_seq: u16,
    /// Reference time on the receiver's clock: 24 bits, in units of [`REFERENCE_US`]; wraps.
    pub reference_time: u32,
    /// Number of the feedback; wraps.
    pub feedback_count: u8,
}

/// Consecutive packets with the same status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRun {
    /// Transport-wide sequence number of the first packet.
    pub seq: u16,
    /// Number of packets, at least 1; exactly 1 for a packet that arrived.
    pub count: u16,
    /// Time from the previous packet's arrival (for the first one: from the reference time), in units of [`DELTA_US`];
    /// `None` if the packets did not arrive.
    pub ticks: Option<i32>,
}

/// Iterator over the status runs of a feedback, in order of sequence numbers.
///
/// Takes at most 14 steps per 2 bytes of the feedback, for any number of packets that it claims.
#[derive(Debug, Clone)]
pub struct StatusRuns<'a> {
    seq: u16,
    left: u16,
    chunk: Chunk,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Lost,
    Small,
    Large,
}

/// Statuses of one chunk that were not read yet.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run {
        symbol: u16,
        left: u16,
    },
    /// The next status is in the upper bits.
    Vector {
        symbols: u16,
        width: u16,
        left: u16,
    },
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let word = u32_at(body, 12)?;
        let header = TransportHeader {
            sender_ssrc: u32_at(body, 0)?,
            media_ssrc: u32_at(body, 4)?,
            base_seq: u16_at(body, 8)?,
            reference_time: word >> 8,
            feedback_count: word as u8,
        };
        let statuses = u16_at(body, 10)?;
        let mut delta_bytes = 0;
        let mut left = statuses;
        let mut rest = &body[FIXED_BYTES..];
        while left > 0 {
            let (chunk, after) = rest.split_first_chunk()?;
            let mut chunk = Chunk::read(u16::from_be_bytes(*chunk));
            delta_bytes += chunk.take(&mut left)?;
            rest = after;
        }
        let (chunks, deltas) = body[FIXED_BYTES..].split_at(body.len() - FIXED_BYTES - rest.len());
        Some(Self {
            header,
            statuses,
            chunks,
            deltas: deltas.get(..delta_bytes)?,
        })
    }

    /// The fields before the chunks.
    pub fn header(&self) -> &TransportHeader {
        &self.header
    }

    /// Transport-wide sequence number of the first packet.
    pub fn base_seq(&self) -> u16 {
        self.header.base_seq
    }

    /// Number of packets that the feedback covers.
    pub fn status_count(&self) -> u16 {
        self.statuses
    }

    /// Reference time on the receiver's clock: 24 bits, in units of [`REFERENCE_US`]; wraps.
    pub fn reference_time(&self) -> u32 {
        self.header.reference_time
    }

    /// Number of the feedback; wraps.
    pub fn feedback_count(&self) -> u8 {
        self.header.feedback_count
    }

    /// The packets as status runs; their counts add up to [`status_count`](Self::status_count).
    pub fn runs(&self) -> StatusRuns<'a> {
        StatusRuns {
            seq: self.header.base_seq,
            left: self.statuses,
            chunk: Chunk::Run { symbol: 0, left: 0 },
            chunks: self.chunks,
            deltas: self.deltas,
        }
    }

    /// Sequence number of each packet, and ticks as in [`StatusRun`]. The feedback claims the number of packets, up to
    /// 65,535 in 2 bytes, so use this only for tests and tools.
    pub fn arrivals(&self) -> impl Iterator<Item = (u16, Option<i32>)> + use<'a> {
        self.runs().flat_map(|run| {
            (0..run.count).map(move |offset| (run.seq.wrapping_add(offset), run.ticks))
        })
    }
}

impl Iterator for StatusRuns<'_> {
    type Item = StatusRun;

    fn next(&mut self) -> Option<StatusRun> {
        if self.left == 0 {
            return None;
        }
        let (symbol, count) = loop {
            match self.chunk.next_run(self.left) {
                Some((symbol, count)) => break (symbol?, count),
                None => {
                    let (chunk, rest) = self.chunks.split_first_chunk()?;
                    self.chunk = Chunk::read(u16::from_be_bytes(*chunk));
                    self.chunks = rest;
                }
            }
        };
        self.left -= count;
        let (delta, rest) = self.deltas.split_at_checked(symbol.delta_bytes())?;
        self.deltas = rest;
        let ticks = match *delta {
            [small] => Some(i32::from(small)),
            [high, low] => Some(i32::from(i16::from_be_bytes([high, low]))),
            _ => None,
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(count);
        Some(StatusRun { seq, count, ticks })
    }
}

impl Symbol {
    /// Reads a two-bit symbol; `None` for the reserved value.
    fn read(bits: u16) -> Option<Self> {
        [Some(Self::Lost), Some(Self::Small), Some(Self::Large), None][usize::from(bits & 3)]
    }

    fn of(delta: Option<i32>) -> Option<Self> {
        match delta {
            None => Some(Self::Lost),
            Some(0..=0xff) => Some(Self::Small),
            Some(ticks) => i16::try_from(ticks).ok().map(|_| Self::Large),
        }
    }

    fn bits(self) -> u16 {
        self as u16
    }

    fn delta_bytes(self) -> usize {
        self as usize
    }
}

impl Chunk {
    fn read(chunk: u16) -> Self {
        let symbols = chunk << 2;
        match (chunk & VECTOR != 0, chunk & PAIRS != 0) {
            (false, _) => Self::Run {
                symbol: chunk >> 13,
                left: chunk & MAX_RUN as u16,
            },
            (true, false) => Self::Vector {
                symbols,
                width: 1,
                left: BITS_PER_VECTOR as u16,
            },
            (true, true) => Self::Vector {
                symbols,
                width: 2,
                left: PAIRS_PER_VECTOR as u16,
            },
        }
    }

    /// The next status (`None` if reserved), and the number of packets that have it, at most `limit`. Lost packets of a
    /// run are combined, all others are returned one at a time.
    fn next_run(&mut self, limit: u16) -> Option<(Option<Symbol>, u16)> {
        if let Self::Run { symbol: 0, left } = self
            && *left > 0
        {
            let count = limit.min(*left);
            *left -= count;
            return Some((Some(Symbol::Lost), count));
        }
        self.next().map(|symbol| (symbol, 1))
    }

    /// The next status; the inner value is `None` if it is reserved.
    fn next(&mut self) -> Option<Option<Symbol>> {
        match self {
            Self::Run { symbol, left } => {
                *left = left.checked_sub(1)?;
                Some(Symbol::read(*symbol))
            }
            Self::Vector {
                symbols,
                width,
                left,
            } => {
                *left = left.checked_sub(1)?;
                let symbol = Symbol::read(*symbols >> (16 - *width));
                *symbols <<= *width;
                Some(symbol)
            }
        }
    }

    /// Subtracts the statuses of this chunk from `statuses`. Returns the bytes of their deltas. A long run is one step.
    fn take(&mut self, statuses: &mut u16) -> Option<usize> {
        match *self {
            Self::Run { symbol, left } => {
                let taken = left.min(*statuses);
                *statuses -= taken;
                match taken {
                    0 => Some(0),
                    _ => Some(usize::from(taken) * Symbol::read(symbol)?.delta_bytes()),
                }
            }
            Self::Vector { .. } => {
                let mut bytes = 0;
                while *statuses > 0
                    && let Some(symbol) = self.next()
                {
                    bytes += symbol?.delta_bytes();
                    *statuses -= 1;
                }
                Some(bytes)
            }
        }
    }
}

/// Writes one RTCP packet about the packets from `head.base_seq` on; `deltas` as in [`StatusRun::ticks`]. Returns the
/// length.
///
/// `None`: `out` is too short, there are more than [`MAX_STATUSES`], or a delta does not fit 16 bits.
pub fn write_transport_feedback(
    head: &TransportHeader,
    deltas: &[Option<i32>],
    out: &mut [u8],
) -> Option<usize> {
    let statuses = u16::try_from(deltas.len()).ok()?;
    let fixed = out.get_mut(4..4 + FIXED_BYTES)?;
    fixed[..4].copy_from_slice(&head.sender_ssrc.to_be_bytes());
    fixed[4..8].copy_from_slice(&head.media_ssrc.to_be_bytes());
    fixed[8..10].copy_from_slice(&head.base_seq.to_be_bytes());
    fixed[10..12].copy_from_slice(&statuses.to_be_bytes());
    let word = head.reference_time << 8 | u32::from(head.feedback_count);
    fixed[12..].copy_from_slice(&word.to_be_bytes());

    let mut at = 4 + FIXED_BYTES;
    let mut put = |bytes: &[u8]| {
        out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
        Some(())
    };
    let mut rest = deltas;
    while !rest.is_empty() {
        let (chunk, taken) = chunk_of(rest)?;
        put(&chunk.to_be_bytes())?;
        rest = &rest[taken..];
    }
    for ticks in deltas.iter().flatten() {
        match u8::try_from(*ticks) {
            Ok(small) => put(&[small])?,
            Err(_) => put(&i16::try_from(*ticks).ok()?.to_be_bytes())?,
        }
    }
    let length = at.next_multiple_of(4);
    let padding = out.get_mut(at..length)?;
    let padding_bytes = padding.len() as u8;
    padding.fill(0);
    if let Some(last) = padding.last_mut() {
        *last = padding_bytes;
    }
    if length / 4 > usize::from(u16::MAX) {
        return None;
    }
    out[..4].copy_from_slice(&header(TRANSPORT_WIDE, TRANSPORT_LAYER, length));
    if padding_bytes > 0 {
        out[0] |= PADDING;
    }
    Some(length)
}

/// The chunk that covers most of the first `deltas`, and the number of deltas that it covers. `deltas` must not be
/// empty.
fn chunk_of(deltas: &[Option<i32>]) -> Option<(u16, usize)> {
    let first = Symbol::of(deltas[0])?;
    let run = deltas
        .iter()
        .take(MAX_RUN)
        .take_while(|delta| Symbol::of(**delta) == Some(first))
        .count();
    let narrow = &deltas[..deltas.len().min(BITS_PER_VECTOR)];
    let fits_bits = |delta: &Option<i32>| Symbol::of(*delta) != Some(Symbol::Large);
    let (mut chunk, width, taken) = if narrow.iter().all(fits_bits) {
        (VECTOR, 1, narrow.len())
    } else {
        (VECTOR | PAIRS, 2, deltas.len().min(PAIRS_PER_VECTOR))
    };
    if run >= taken {
        return Some((first.bits() << 13 | run as u16, run));
    }
    for (index, delta) in deltas[..taken].iter().enumerate() {
        chunk |= Symbol::of(*delta)?.bits() << (BITS_PER_VECTOR - width * (index + 1));
    }
    Some((chunk, taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Malformed, Packet, packets};

    const HEAD: TransportHeader = TransportHeader {
        sender_ssrc: 9,
        media_ssrc: 7,
        base_seq: 0xfffe,
        reference_time: 0x12_3456,
        feedback_count: 200,
    };

    fn read(bytes: &[u8]) -> Result<TransportFeedback<'_>, Malformed> {
        match packets(bytes).next() {
            Some(Ok(Packet::TransportFeedback(feedback))) => Ok(feedback),
            Some(Err(malformed)) => Err(malformed),
            other => panic!("{other:?}"),
        }
    }

    /// A feedback about `statuses` packets from 65,534 on.
    fn feedback(statuses: u16, rest: &[u8]) -> Vec<u8> {
        let length = (20 + rest.len()).next_multiple_of(4);
        let [high, low] = statuses.to_be_bytes();
        let mut bytes = vec![0x8f, 205, 0, (length / 4 - 1) as u8, 0, 0, 0, 9, 0, 0, 0, 7];
        bytes.extend([0xff, 0xfe, high, low, 0x12, 0x34, 0x56, 200]);
        bytes.extend(rest);
        let padding = length - bytes.len();
        if padding > 0 {
            bytes[0] |= PADDING;
            bytes.resize(length, 0);
            bytes[length - 1] = padding as u8;
        }
        bytes
    }

    #[test]
    fn the_three_kinds_of_chunks_are_read() {
        type Row = (u16, &'static [u8], &'static [Option<i32>]);
        let table: [Row; 6] = [
            // Run of 3 small deltas.
            (3, &[0x20, 3, 1, 2, 255], &[Some(1), Some(2), Some(255)]),
            // A run longer than the packet count.
            (2, &[0x3f, 0xff, 1, 2], &[Some(1), Some(2)]),
            // Empty run, run of 2 lost, run of one large.
            (
                3,
                &[0, 0, 0, 2, 0x40, 1, 0xff, 0xff],
                &[None, None, Some(-1)],
            ),
            // Bits: lost, small, lost, small.
            (4, &[0x94, 0, 4, 5], &[None, Some(4), None, Some(5)]),
            // Pairs: small, large, lost.
            (3, &[0xd8, 0, 6, 0x01, 0x00], &[Some(6), Some(256), None]),
            (0, &[], &[]),
        ];
        for (statuses, rest, expected) in table {
            let bytes = feedback(statuses, rest);
            let feedback = read(&bytes).unwrap();
            assert_eq!(*feedback.header(), HEAD);
            let (seqs, deltas): (Vec<_>, Vec<_>) = feedback.arrivals().unzip();
            assert_eq!(deltas, expected, "{rest:02x?}");
            assert!((0..expected.len()).all(|n| seqs[n] == 0xfffe_u16.wrapping_add(n as u16)));
        }
    }

    #[test]
    fn what_is_announced_and_missing_is_malformed() {
        let table: [(u16, &[u8]); 6] = [
            (1, &[]),                    // no chunk
            (15, &[0x80, 0]),            // one chunk for more than it holds
            (1, &[0x20, 1]),             // no delta
            (2, &[0x20, 2, 1]),          // one delta of two
            (1, &[0x40, 1, 1]),          // half a delta
            (1, &[0x60, 1, 1, 1, 1, 1]), // reserved symbol
        ];
        for (statuses, rest) in table {
            let bytes = feedback(statuses, rest);
            assert!(
                matches!(read(&bytes), Err(Malformed::Body { kind: 205, .. })),
                "{rest:02x?}"
            );
        }
        let short = [0x8f, 205, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7];
        assert!(read(&short).is_err());
    }

    #[test]
    fn a_long_run_of_lost_packets_is_one_step() {
        // Seven runs of 8,191 lost packets and one of 8,190, then one that arrived: 65,528 packets in 17 bytes.
        let mut rest = Vec::new();
        (0..7).for_each(|_| rest.extend([0x1f, 0xff]));
        rest.extend([0x1f, 0xfe, 0x20, 1, 9]);
        let bytes = feedback(65_528, &rest);
        let runs: Vec<_> = read(&bytes).unwrap().runs().collect();
        assert_eq!(runs.len(), 9);
        let total: usize = runs.iter().map(|run| usize::from(run.count)).sum();
        assert_eq!(total, 65_528);
        let last = StatusRun {
            seq: 0xfffe_u16.wrapping_add(65_527),
            count: 1,
            ticks: Some(9),
        };
        assert_eq!(runs.last(), Some(&last));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let small = |count| vec![Some(3); count];
        let mixed = |count: usize| {
            let status = |n| match n * n % 7 {
                0 | 1 => None,
                2 => Some(-3),
                4 => Some(4_000),
                n => Some(n as i32),
            };
            (0..count).map(status).collect::<Vec<_>>()
        };
        let bits = |count: usize| (0..count).map(|n| (n % 3 > 0).then_some(n as i32 % 256));
        let mut table = vec![
            vec![],
            vec![None; 9_000],
            [small(13), vec![None], small(6), vec![Some(-1)]].concat(),
            [small(20), mixed(9), small(8_192)].concat(),
        ];
        for count in 1..40 {
            table.extend([small(count), mixed(count), bits(count).collect()]);
        }
        let mut out = vec![0xff; 1 << 16];
        for deltas in table {
            let length = write_transport_feedback(&HEAD, &deltas, &mut out).unwrap();
            let feedback = read(&out[..length]).unwrap();
            assert_eq!(*feedback.header(), HEAD);
            assert!(
                feedback
                    .arrivals()
                    .map(|(_, delta)| delta)
                    .eq(deltas.clone())
            );
            let exact = write_transport_feedback(&HEAD, &deltas, &mut vec![0; length]);
            assert_eq!(exact, Some(length));
            let tight = write_transport_feedback(&HEAD, &deltas, &mut vec![0; length - 1]);
            assert_eq!(tight, None);
        }
        assert_eq!(
            write_transport_feedback(&HEAD, &[Some(40_000)], &mut out),
            None
        );
        let many = vec![None; MAX_STATUSES + 1];
        assert_eq!(write_transport_feedback(&HEAD, &many, &mut out), None);
    }

    #[test]
    fn chunks_are_used_well() {
        let mut out = [0; 1_500];
        let mut length =
            |deltas: &[Option<i32>]| write_transport_feedback(&HEAD, deltas, &mut out).unwrap();
        assert_eq!(length(&[Some(1); 100]), 20 + 2 + 100 + 2);
        assert_eq!(length(&[None; 8_000]), 20 + 2 + 2);
        let alternating: Vec<_> = (0..28).map(|n| (n % 2 == 0).then_some(1)).collect();
        assert_eq!(length(&alternating), 20 + 4 + 14 + 2);
    }
}
