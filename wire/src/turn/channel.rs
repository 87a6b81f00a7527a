//! ChannelData: relayed data behind a header of four bytes, instead of a STUN message (RFC 8656 section 12.4).

/// The number of a channel, 0x4000 to 0x7fff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelNumber(u16);

/// A parsed ChannelData message (RFC 8656 section 12.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// Number of the channel.
    pub number: ChannelNumber,
    /// The relayed data without padding.
    pub data: &'a [u8],
}

/// Reason why bytes are not ChannelData.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The bytes are shorter than a header.
    #[error("channel data of {0} bytes is shorter than its header of 4")]
    Short(usize),
    /// The first two bytes are not a channel number.
    #[error("channel number {0:#06x} is outside 0x4000..=0x7fff")]
    Number(u16),
    /// The length field exceeds the datagram.
    #[error("length field says {said} bytes, the datagram has {got}")]
    Length {
        /// Length in the header, in bytes.
        said: usize,
        /// Bytes that follow the header.
        got: usize,
    },
}

impl ChannelNumber {
    /// Channel numbers that a client may choose. In RFC 8656 section 12 they end at 0x4fff; clients of RFC 5766 use the
    /// whole range, and no other protocol on the port starts with these bytes.
    pub const RANGE: std::ops::RangeInclusive<u16> = 0x4000..=0x7fff;

    /// `number` as a channel number; `None` if it is outside the range.
    pub fn new(number: u16) -> Option<Self> {
        Self::RANGE.contains(&number).then_some(Self(number))
    }

    /// The number on the wire.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl<'a> ChannelData<'a> {
    /// Bytes of the header.
    pub const HEADER_BYTES: usize = 4;

    /// Parses a datagram, which may be longer than its message (RFC 8656 section 12.5: padding is optional over UDP),
    /// or a message from a stream.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChannelError> {
        let Some((&[n0, n1, l0, l1], rest)) = bytes.split_first_chunk() else {
            return Err(ChannelError::Short(bytes.len()));
        };
        let number = u16::from_be_bytes([n0, n1]);
        let number = ChannelNumber::new(number).ok_or(ChannelError::Number(number))?;
        let said = usize::from(u16::from_be_bytes([l0, l1]));
        let data = rest.get(..said).ok_or(ChannelError::Length {
            said,
            got: rest.len(),
        })?;
        Ok(Self { number, data })
    }

    /// The header for data of `length` bytes.
    pub fn header(number: ChannelNumber, length: u16) -> [u8; 4] {
        let [n0, n1] = number.0.to_be_bytes();
        let [l0, l1] = length.to_be_bytes();
        [n0, n1, l0, l1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_may_be_shorter_than_its_datagram_but_never_longer() {
        let number = ChannelNumber::new(0x4001).unwrap();
        let mut bytes = ChannelData::header(number, 3).to_vec();
        bytes.extend(b"abc");
        let read = ChannelData {
            number,
            data: b"abc",
        };
        assert_eq!(ChannelData::parse(&bytes), Ok(read));
        bytes.push(0);
        assert_eq!(ChannelData::parse(&bytes), Ok(read), "padded");
        assert_eq!(
            ChannelData::parse(&bytes[..6]),
            Err(ChannelError::Length { said: 3, got: 2 })
        );
        bytes[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(
            ChannelData::parse(&bytes),
            Err(ChannelError::Length {
                said: 65_535,
                got: 4
            })
        );
        assert_eq!(ChannelData::parse(&bytes[..3]), Err(ChannelError::Short(3)));
    }

    #[test]
    fn numbers_outside_their_range_are_errors() {
        for number in [0x0001, 0x3fff, 0x8000, 0xffff] {
            let bytes = [u16::to_be_bytes(number), [0, 0]].concat();
            assert_eq!(
                ChannelData::parse(&bytes),
                Err(ChannelError::Number(number))
            );
        }
        assert!(ChannelNumber::new(0x4000).is_some());
        assert!(ChannelNumber::new(0x7fff).is_some());
    }
}
