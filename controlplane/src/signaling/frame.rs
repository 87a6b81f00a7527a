//! WebSocket frames to clients (RFC 6455 section 5). Frames of a server are not masked, so one
//! encoding serves all sockets.

use bytes::{Bytes, BytesMut};

use crate::room::CloseCode;

const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;
/// Longest payload of a control frame (section 5.5).
const CONTROL_BYTES: usize = 125;

/// Encodes a WebSocket text frame with its header.
pub(super) fn text(payload: &[u8]) -> Bytes {
    framed(FINAL_TEXT, payload)
}

/// A ping frame: the client must answer with a pong.
pub(super) const PING: [u8; 2] = [FINAL_PING, 0];

/// A close frame, the last frame of a connection.
pub(super) fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.number().to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    framed(FINAL_CLOSE, &payload)
}

/// Adds the frame header. The length field has 7, 16 or 64 bits (section 5.2).
fn framed(first: u8, payload: &[u8]) -> Bytes {
    const HEADER_BYTES: usize = 10;
    let mut wire = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    wire.extend_from_slice(&[first]);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if usize::from(length) <= CONTROL_BYTES => {
            wire.extend_from_slice(&[length]);
        }
        (_, Ok(length)) => {
            wire.extend_from_slice(&[126]);
            wire.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            wire.extend_from_slice(&[127]);
            wire.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(payload);
    wire.freeze()
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    fn read(wire: &[u8]) -> Message {
        let stream = std::io::Cursor::new(wire.to_vec());
        let read = WebSocket::from_raw_socket(stream, Role::Client, None).read();
        read.expect("a client understands it")
    }

    #[test]
    fn a_client_reads_frames_of_every_length() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let text = "x".repeat(length);
            let wire = framed(FINAL_TEXT, text.as_bytes());
            assert_eq!(read(&wire), Message::text(text));
        }
        assert_eq!(read(&PING), Message::Ping(Bytes::new()));
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_letters() {
        let Message::Close(Some(frame)) = read(&close(CloseCode::GoingAway, &"ü".repeat(100)))
        else {
            panic!("a close frame");
        };
        assert_eq!(u16::from(frame.code), CloseCode::GoingAway.number());
        assert_eq!(frame.reason.as_str(), "ü".repeat(61));
    }
}
