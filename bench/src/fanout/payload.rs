//! Payloads with bytes that the receiver can check.

use std::time::Duration;

use super::shape::Piece;
use crate::media::Stamp;

const VP8_DESCRIPTOR_BYTES: usize = 5;

/// Damage of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The payload contains no stamp.
    #[error("payload carries no stamp")]
    NoStamp,
    /// The length of the payload differs.
    #[error("payload has {got} bytes, {made} were made")]
    Length {
        /// Bytes of the received payload.
        got: usize,
        /// Bytes of the sent payload.
        made: usize,
    },
    /// A byte of the payload differs.
    #[error("payload byte {at} was changed")]
    Content {
        /// Offset of the first different byte.
        at: usize,
    },
}

/// The payload of `piece`, the `counter`th packet of its stream, made `made` after the Unix epoch.
pub fn video(piece: &Piece, counter: u32, made: Duration) -> Vec<u8> {
    // RFC 7741: extended, with a 15-bit picture id; then the payload header. Its lowest bit is set in frames that
    // depend on others.
    let [high, low] = piece.picture.to_be_bytes();
    let start = if piece.first { 0x90 } else { 0x80 };
    let mut payload = vec![start, 0x80, 0x80 | high, low, u8::from(!piece.keyframe)];
    debug_assert_eq!(payload.len(), VP8_DESCRIPTOR_BYTES);
    fill(&mut payload, piece.bytes, counter, made);
    payload
}

/// Like [`video`], without a codec's header.
pub fn audio(piece: &Piece, counter: u32, made: Duration) -> Vec<u8> {
    let mut payload = Vec::new();
    fill(&mut payload, piece.bytes, counter, made);
    payload
}

/// Reads the stamp and checks every byte after it.
pub fn check(payload: &[u8]) -> Result<Stamp, Damage> {
    let (stamp, rest) = Stamp::split(payload).ok_or(Damage::NoStamp)?;
    let (length, rest_bytes) = rest.split_first_chunk::<2>().ok_or(Damage::NoStamp)?;
    let made = usize::from(u16::from_be_bytes(*length));
    if made != payload.len() {
        let got = payload.len();
        return Err(Damage::Length { got, made });
    }
    let expected = stamp.counter.to_be_bytes()[3];
    match rest_bytes.iter().position(|byte| *byte != expected) {
        Some(at) => Err(Damage::Content {
            at: payload.len() - rest_bytes.len() + at,
        }),
        None => Ok(stamp),
    }
}

fn fill(payload: &mut Vec<u8>, bytes: usize, counter: u32, made: Duration) {
    Stamp { counter, made }.write(payload);
    let length = u16::try_from(bytes).expect("a packet is smaller than 64 KiB");
    payload.extend(length.to_be_bytes());
    payload.resize(bytes, counter.to_be_bytes()[3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Piece = Piece {
        bytes: 300,
        time: 1,
        first: true,
        last: true,
        keyframe: true,
        picture: 9,
    };

    #[test]
    fn what_was_made_is_what_is_read() {
        let made = Duration::from_nanos(1_234_567_891);
        for payload in [video(&PIECE, 777, made), audio(&PIECE, 777, made)] {
            assert_eq!(payload.len(), PIECE.bytes);
            assert_eq!(check(&payload).unwrap(), Stamp { counter: 777, made });
        }
    }

    #[test]
    fn every_change_is_found() {
        let mut payload = video(&PIECE, 1, Duration::ZERO);
        payload[200] ^= 1;
        assert_eq!(check(&payload), Err(Damage::Content { at: 200 }));
        payload[200] ^= 1;
        payload.push(0);
        let (got, made) = (301, 300);
        assert_eq!(check(&payload), Err(Damage::Length { got, made }));
        assert_eq!(check(&payload[..10]), Err(Damage::NoStamp));
    }
}
