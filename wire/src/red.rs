//! RFC 2198 redundancy of audio.

/// The newest block of a redundant payload, for receivers without redundancy. `None` when the block headers exceed the
/// payload.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    Some(read(payload)?.primary)
}

/// A parsed redundant payload.
#[derive(Debug)]
pub struct Redundant<'a> {
    /// Payload type of the newest block.
    pub payload_type: u8,
    /// Payload of the newest block.
    pub primary: &'a [u8],
    headers: &'a [u8],
    blocks: &'a [u8],
}

/// A redundant block: a copy of an earlier packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Payload type of the block.
    pub payload_type: u8,
    /// Timestamp of the packet minus timestamp of the block.
    pub time_offset: u32,
    /// Payload of the block.
    pub payload: &'a [u8],
}

/// Bytes of the header of each block but the last (RFC 2198 section 3); its first bit is 1.
const HEADER_BYTES: usize = 4;
const FOLLOWS: u8 = 0x80;

/// Parses `payload`. `None` when the block headers exceed the payload.
pub fn read(payload: &[u8]) -> Option<Redundant<'_>> {
    let (mut at, mut block_bytes) = (0, 0);
    while *payload.get(at)? & FOLLOWS != 0 {
        block_bytes += length(payload.get(at..at + HEADER_BYTES)?);
        at += HEADER_BYTES;
    }
    let data = payload.get(at + 1..)?;
    let (blocks, primary) = data.split_at_checked(block_bytes)?;
    Some(Redundant {
        payload_type: payload[at],
        primary,
        headers: &payload[..at],
        blocks,
    })
}

/// Sets the payload type of the blocks that have the newest block's payload type to `to`, because payload types differ
/// between sender and receiver. A malformed payload is not changed.
pub fn set_payload_type(payload: &mut [u8], to: u8) {
    let Some(Redundant {
        payload_type,
        headers,
        ..
    }) = read(payload)
    else {
        return;
    };
    let headers = headers.len();
    for header in payload[..headers].chunks_exact_mut(HEADER_BYTES) {
        if header[0] & !FOLLOWS == payload_type {
            header[0] = FOLLOWS | to;
        }
    }
    payload[headers] = to;
}

impl<'a> Redundant<'a> {
    /// The redundant blocks, the oldest first.
    pub fn earlier(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut rest = self.blocks;
        let headers = self.headers.chunks_exact(HEADER_BYTES);
        headers.map_while(move |header| {
            let (payload, after) = rest.split_at_checked(length(header))?;
            rest = after;
            Some(Block {
                payload_type: header[0] & !FOLLOWS,
                time_offset: u32::from(u16::from_be_bytes([header[1], header[2]]) >> 2),
                payload,
            })
        })
    }
}

fn length(header: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x03ff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with two bytes from 960 ticks earlier, and three new bytes.
    const ONE_REDUNDANT: [u8; 10] = [0x80 | 111, 0x0f, 0x00, 0x02, 111, 1, 2, 7, 8, 9];

    #[test]
    fn the_newest_block_is_the_last() {
        let table: [(&[u8], Option<&[u8]>); 6] = [
            (&ONE_REDUNDANT, Some(&[7, 8, 9])),
            (&[111, 7, 8], Some(&[7, 8])),
            (&ONE_REDUNDANT[..6], None),
            (&ONE_REDUNDANT[..3], None),
            (&[111], Some(&[])),
            (&[], None),
        ];
        for (payload, expected) in table {
            assert_eq!(primary(payload), expected, "{payload:02x?}");
        }
    }

    #[test]
    fn blocks_of_before_have_their_time_and_bytes() {
        let read_one = read(&ONE_REDUNDANT).unwrap();
        let block = Block {
            payload_type: 111,
            time_offset: 960,
            payload: &[1, 2],
        };
        assert_eq!(read_one.earlier().collect::<Vec<_>>(), [block]);
        assert_eq!(read(&[111, 7]).unwrap().earlier().count(), 0);
    }

    #[test]
    fn all_blocks_of_the_codec_get_the_receivers_payload_type() {
        let mut payload = ONE_REDUNDANT;
        set_payload_type(&mut payload, 96);
        assert_eq!(payload, [0x80 | 96, 0x0f, 0x00, 0x02, 96, 1, 2, 7, 8, 9]);
        let mut other = [0x80 | 13, 0x0f, 0x00, 0x01, 111, 1, 7];
        set_payload_type(&mut other, 96);
        assert_eq!(
            other,
            [0x80 | 13, 0x0f, 0x00, 0x01, 96, 1, 7],
            "comfort noise stays"
        );
        let mut cut_off = [0x80 | 111, 0x0f];
        set_payload_type(&mut cut_off, 96);
        assert_eq!(cut_off, [0x80 | 111, 0x0f]);
    }
}
