//! A relayed packet of the size of video, with the number of its client and its send time.

use std::time::Duration;

/// Size of a packet: a video packet without IP and UDP headers, with space for TURN headers.
pub const PAYLOAD_BYTES: usize = 1_100;

/// Content of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the client.
    pub client: u32,
    /// Number of the packet of this client in this direction.
    pub sequence: u16,
    /// Send time since the Unix epoch.
    pub at: Duration,
}

/// First bytes of our packets, with which no STUN or TURN message starts.
const MARK: [u8; 2] = [0x80, 0x60];
const STAMP_BYTES: usize = 16;

/// Appends a packet with this stamp to `out`.
pub fn write(out: &mut Vec<u8>, stamp: Stamp) {
    let nanos = u64::try_from(stamp.at.as_nanos()).expect("five centuries fit");
    out.extend(MARK);
    out.extend(stamp.sequence.to_be_bytes());
    out.extend(stamp.client.to_be_bytes());
    out.extend(nanos.to_be_bytes());
    out.resize(out.len() + PAYLOAD_BYTES - STAMP_BYTES, 0x5a);
}

/// Reads the stamp of `packet`; `None` when the packet was changed.
pub fn read(packet: &[u8]) -> Option<Stamp> {
    if packet.len() != PAYLOAD_BYTES {
        return None;
    }
    let (mark, rest) = packet.split_first_chunk::<2>()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (client, rest) = rest.split_first_chunk()?;
    let (nanos, filling) = rest.split_first_chunk()?;
    (*mark == MARK && filling.last() == Some(&0x5a)).then(|| Stamp {
        client: u32::from_be_bytes(*client),
        sequence: u16::from_be_bytes(*sequence),
        at: Duration::from_nanos(u64::from_be_bytes(*nanos)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_what_was_put_into_it_or_nothing() {
        let stamp = Stamp {
            client: 70_000,
            sequence: 65_535,
            at: Duration::from_nanos(1_790_000_000_123_456_789),
        };
        let mut packet = Vec::new();
        write(&mut packet, stamp);
        assert_eq!(packet.len(), PAYLOAD_BYTES);
        assert_eq!(read(&packet), Some(stamp));
        assert_eq!(read(&packet[..PAYLOAD_BYTES - 1]), None);
        packet[0] = 0x40;
        assert_eq!(read(&packet), None);
    }
}
