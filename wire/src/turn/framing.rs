//! Splits a stream into messages: STUN and ChannelData (RFC 8656 section 12.5), or length-prefixed messages (RFC
//! 4571).
//!
//! Bytes arrive in pieces of any size. A message inside one piece is returned without a copy; only a message that is
//! split is copied. A length field costs no memory before the bytes arrive.

use std::marker::PhantomData;

use super::ChannelNumber;
use crate::stun;

/// Maximum length of a message in both framings: ChannelData of 64 KiB minus one byte, with header and padding.
pub const MAX_FRAME_BYTES: usize = 4 + 65_536;
/// Capacity in bytes that the buffer keeps after a longer message.
const KEPT_BYTES: usize = 2_048;

/// Framing of TURN: STUN messages, and ChannelData padded to four bytes.
#[derive(Debug, Clone, Copy)]
pub struct TurnStream;

/// Framing with two bytes of length before each message (RFC 4571 section 2), which may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Prefixed;

/// Reason why a stream cannot be split further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Neither a STUN message nor ChannelData starts like this.
    #[error("a message cannot start with {0:#06x}")]
    Start(u16),
    /// A STUN message whose length is not a multiple of four.
    #[error("length field says {0} bytes, which is no multiple of 4")]
    Odd(usize),
    /// A message that is longer than this stream may send.
    #[error("message of {bytes} bytes is longer than {limit}")]
    Long {
        /// Length of the message in bytes, with its header.
        bytes: usize,
        /// Maximum length of a message in this stream, in bytes.
        limit: usize,
    },
}

/// Extent of the next message, as offsets from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of framing before the message.
    pub skip: usize,
    /// Offset behind the last byte of the message.
    pub end: usize,
    /// Offset of the next message.
    pub next: usize,
}

/// A framing of messages in a stream.
pub trait Framing {
    /// Number of bytes that [`Framing::measure`] needs.
    const HEAD_BYTES: usize;

    /// Extent of the message that starts with `head`, of [`Framing::HEAD_BYTES`] bytes.
    fn measure(head: &[u8]) -> Result<Extent, FramingError>;
}

/// Splits a stream into messages.
#[derive(Debug)]
pub struct Splitter<F> {
    /// The start of a message, or a complete message that was returned by the last call.
    buffer: Vec<u8>,
    handed_out: bool,
    limit_bytes: usize,
    framing: PhantomData<F>,
}

impl Framing for TurnStream {
    const HEAD_BYTES: usize = 4;

    fn measure(head: &[u8]) -> Result<Extent, FramingError> {
        let start = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        // RFC 7983: the first two bits of STUN are zero.
        if start & 0xc000 == 0 {
            if !length.is_multiple_of(4) {
                return Err(FramingError::Odd(length));
            }
            let end = stun::HEADER_BYTES + length;
            return Ok(Extent {
                skip: 0,
                end,
                next: end,
            });
        }
        let number = ChannelNumber::new(start);
        let end = 4 + length;
        number.ok_or(FramingError::Start(start)).map(|_| Extent {
            skip: 0,
            end,
            next: end.next_multiple_of(4),
        })
    }
}

impl Framing for Prefixed {
    const HEAD_BYTES: usize = 2;

    fn measure(head: &[u8]) -> Result<Extent, FramingError> {
        let end = 2 + usize::from(u16::from_be_bytes([head[0], head[1]]));
        Ok(Extent {
            skip: 2,
            end,
            next: end,
        })
    }
}

impl<F: Framing> Splitter<F> {
    /// A splitter for messages of at most `limit_bytes`, framing included. A longer message is an error as soon as its
    /// length is known.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            handed_out: false,
            limit_bytes: limit_bytes.min(MAX_FRAME_BYTES),
            framing: PhantomData,
        }
    }

    /// The next message; advances `input`. `None` when all of `input` was consumed and more bytes are needed
    /// ([`Splitter::waits_for`]). After an error the stream cannot be used any more.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<&'a [u8]>, FramingError> {
        if self.handed_out {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.handed_out = false;
        }
        if self.buffer.is_empty()
            && let Some(extent) = self.measure(input)?
            && extent.next <= input.len()
        {
            let (message, rest) = input.split_at(extent.next);
            *input = rest;
            return Ok(Some(&message[extent.skip..extent.end]));
        }
        self.fill(input, F::HEAD_BYTES);
        let Some(extent) = self.measure(&self.buffer)? else {
            return Ok(None);
        };
        self.fill(input, extent.next);
        self.handed_out = self.buffer.len() == extent.next;
        Ok(self
            .handed_out
            .then(|| &self.buffer[extent.skip..extent.end]))
    }

    /// Number of bytes (at least 1) that are missing before [`Splitter::next`] can make progress.
    pub fn waits_for(&self) -> usize {
        if self.handed_out {
            return F::HEAD_BYTES;
        }
        match self.measure(&self.buffer) {
            Ok(Some(extent)) => extent.next - self.buffer.len(),
            Ok(None) | Err(_) => F::HEAD_BYTES.saturating_sub(self.buffer.len()).max(1),
        }
    }

    /// True when a message is incomplete.
    pub fn is_within_message(&self) -> bool {
        !self.handed_out && !self.buffer.is_empty()
    }

    /// Sets the maximum length of later messages.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes.min(MAX_FRAME_BYTES);
    }

    /// Number of bytes in the buffer.
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn measure(&self, bytes: &[u8]) -> Result<Option<Extent>, FramingError> {
        let Some(head) = bytes.get(..F::HEAD_BYTES) else {
            return Ok(None);
        };
        let extent = F::measure(head)?;
        if extent.next > self.limit_bytes {
            return Err(FramingError::Long {
                bytes: extent.next,
                limit: self.limit_bytes,
            });
        }
        Ok(Some(extent))
    }

    /// Moves bytes from `input` to the buffer until it holds `bytes`, or `input` is empty.
    fn fill(&mut self, input: &mut &[u8], bytes: usize) {
        let missing = bytes.saturating_sub(self.buffer.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.buffer.extend_from_slice(taken);
        *input = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChannelData;
    use super::*;
    use crate::stun::{Class, Method, TransactionId, Writer, kinds};

    fn request(software: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let kind = Method::Allocate.kind(Class::Request);
        Writer::new(&mut out, kind, TransactionId([3; 12])).attribute(kinds::SOFTWARE, software);
        out
    }

    fn channel(data: &[u8]) -> Vec<u8> {
        let number = ChannelNumber::new(0x4000).unwrap();
        let mut out = ChannelData::header(number, u16::try_from(data.len()).unwrap()).to_vec();
        out.extend(data);
        out
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// All messages of a stream that arrives in pieces of `step` bytes.
    fn split<F: Framing>(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::<F>::new(MAX_FRAME_BYTES);
        let mut messages = Vec::new();
        for mut piece in stream.chunks(step) {
            while let Some(message) = splitter.next(&mut piece).unwrap() {
                messages.push(message.to_vec());
            }
            assert!(piece.is_empty());
        }
        messages
    }

    #[test]
    fn a_stream_comes_apart_the_same_in_pieces_of_any_size() {
        let messages = [
            request(b"one"),
            channel(b"12345"),
            channel(b""),
            request(&[7; 3_000]),
            channel(&[9; 65_535]),
            request(b""),
        ];
        let stream: Vec<u8> = messages.iter().cloned().flat_map(padded).collect();
        for step in [1, 2, 3, 5, 7, 64, 1_000, 65_536, stream.len()] {
            assert!(split::<TurnStream>(&stream, step) == messages, "{step}");
        }
    }

    #[test]
    fn prefixed_messages_may_be_empty() {
        let stream = [&[0, 3][..], b"abc", &[0, 0], &[0, 1], b"d"].concat();
        for step in 1..=stream.len() {
            let messages = split::<Prefixed>(&stream, step);
            assert_eq!(messages, [b"abc".to_vec(), vec![], b"d".to_vec()]);
        }
    }

    #[test]
    fn a_giant_length_is_refused_before_it_is_waited_for() {
        let mut splitter = Splitter::<TurnStream>::new(4_096);
        let mut giant = &[0x00, 0x03, 0xff, 0xfc][..];
        let long = FramingError::Long {
            bytes: 65_552,
            limit: 4_096,
        };
        assert_eq!(splitter.next(&mut giant), Err(long));
        let mut splitter = Splitter::<TurnStream>::new(4_096);
        for byte in [0x40, 0x00, 0xff] {
            assert_eq!(splitter.next(&mut &[byte][..]), Ok(None));
        }
        assert!(splitter.next(&mut &[0xff][..]).is_err());
    }

    #[test]
    fn what_is_said_to_come_costs_nothing_before_it_is_there() {
        let mut splitter = Splitter::<TurnStream>::new(MAX_FRAME_BYTES);
        let mut head = &[0x40, 0x00, 0xff, 0xff, 1, 2][..];
        assert_eq!(splitter.next(&mut head), Ok(None));
        assert_eq!(splitter.waits_for(), MAX_FRAME_BYTES - 6);
        assert!(splitter.held_bytes() < 64);
    }

    #[test]
    fn a_long_message_does_not_keep_its_memory() {
        let mut splitter = Splitter::<TurnStream>::new(MAX_FRAME_BYTES);
        let long = padded(channel(&[1; 60_001]));
        let (mut first, mut second) = long.split_at(30_000);
        assert_eq!(splitter.next(&mut first), Ok(None));
        assert!(splitter.next(&mut second).unwrap().is_some());
        assert_eq!(splitter.next(&mut &[][..]), Ok(None));
        assert!(splitter.held_bytes() <= KEPT_BYTES);
    }

    #[test]
    fn what_is_no_message_ends_the_stream() {
        let table = [
            (&[0x9a, 1, 0, 0][..], FramingError::Start(0x9a01)),
            (&[0x80, 0, 0, 0], FramingError::Start(0x8000)),
            (&[0x00, 0x01, 0, 3], FramingError::Odd(3)),
        ];
        for (mut bytes, error) in table {
            let mut splitter = Splitter::<TurnStream>::new(MAX_FRAME_BYTES);
            assert_eq!(splitter.next(&mut bytes), Err(error));
        }
    }
}
