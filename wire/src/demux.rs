//! Protocol of a datagram on the media port, by its first bytes (RFC 7983, RFC 5761).

/// Protocol of a datagram by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RTP of an SRTP session.
    Rtp,
    /// SRTCP feedback and reports.
    Rtcp,
    /// STUN messages, such as ICE connectivity checks.
    Stun,
    /// DTLS records, such as handshakes.
    Dtls,
    /// TURN ChannelData messages (RFC 8656).
    TurnChannel,
}

/// Shortest datagram that can hold an RTP header (RFC 3550 section 5.1).
const RTP_HEADER_BYTES: usize = 12;
/// Shortest datagram that can hold an RTCP header and a sender SSRC (RFC 3550 section 6.4).
const RTCP_HEADER_BYTES: usize = 8;
/// A STUN header (RFC 8489 section 5).
const STUN_HEADER_BYTES: usize = 20;
/// A DTLS record header (RFC 6347 section 4.1).
const DTLS_HEADER_BYTES: usize = 13;
/// Payload types that, with the marker bit, equal RTCP packet types 192 to 223 (RFC 5761 section 4).
const RTCP_PACKET_TYPES: std::ops::RangeInclusive<u8> = 192..=223;

/// Protocol of `datagram`; `None` for an unknown protocol or a datagram shorter than its header.
pub fn protocol(datagram: &[u8]) -> Option<Protocol> {
    let (first, shortest) = match *datagram.first()? {
        128..=191 => {
            let rtcp = RTCP_PACKET_TYPES.contains(datagram.get(1)?);
            if rtcp {
                (Protocol::Rtcp, RTCP_HEADER_BYTES)
            } else {
                (Protocol::Rtp, RTP_HEADER_BYTES)
            }
        }
        0..=3 => (Protocol::Stun, STUN_HEADER_BYTES),
        20..=63 => (Protocol::Dtls, DTLS_HEADER_BYTES),
        64..=79 => (Protocol::TurnChannel, 4),
        _ => return None,
    };
    (datagram.len() >= shortest).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        let table = [
            (vec![], None),
            (vec![0x80], None),
            ([vec![0x80, 96], vec![0; 10]].concat(), Some(Protocol::Rtp)),
            ([vec![0x80, 96], vec![0; 9]].concat(), None),
            (
                [vec![0x80, 0x80 | 96], vec![0; 10]].concat(),
                Some(Protocol::Rtp),
            ),
            ([vec![0x81, 200], vec![0; 6]].concat(), Some(Protocol::Rtcp)),
            ([vec![0xbf, 223], vec![0; 5]].concat(), None),
            ([vec![0, 1], vec![0; 18]].concat(), Some(Protocol::Stun)),
            ([vec![1, 1], vec![0; 17]].concat(), None),
            ([vec![22], vec![0; 12]].concat(), Some(Protocol::Dtls)),
            ([vec![63], vec![0; 11]].concat(), None),
            (vec![0x40, 0, 0, 0], Some(Protocol::TurnChannel)),
            ([vec![16], vec![0; 30]].concat(), None),
            ([vec![0xff], vec![0; 30]].concat(), None),
        ];
        for (datagram, expected) in table {
            assert_eq!(protocol(&datagram), expected, "{datagram:02x?}");
        }
    }
}
