//! RFC 2198 redundancy around audio.

/// The newest block of a redundant payload: what a receiver without redundancy plays. `None` when the
/// headers reach past the end.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    Some(read(payload)?.primary)
}

/// A redundant payload, taken apart.
#[derive(Debug)]
pub struct Redundant<'a> {
    /// Payload type of the newest block.
    pub payload_type: u8,
    /// Payload of the newest block.
    pub primary: &'a [u8],
    headers: &'a [u8],
    blocks: &'a [u8],
}

/// A block that was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Payload type of the block.
    pub payload_type: u8,
    /// Timestamp of the packet minus that of the block.
    pub time_offset: u32,
    /// Payload of the block.
    pub payload: &'a [u8],
}

/// Bytes of the header of each block but the last (section 3), which starts with a 1.
const HEADER_BYTES: usize = 4;
const FOLLOWS: u8 = 0x80;

/// Takes `payload` apart. `None` when the headers reach past the end.
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

/// Gives the blocks of `payload` that have the payload type of the newest one the payload type `to`: receivers number
/// codecs otherwise than the sender. A payload that cannot be read stays as it is.
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
    /// The blocks that were sent before, the oldest first.
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

    /// Two bytes of 960 ticks before, and three.
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
