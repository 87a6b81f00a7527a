//! A participant's WebSocket (RFC 6455) at low cost, because the load shares the processors with the servers. Messages
//! are parsed in the receive buffer. Supports only what a Spillway server sends.

use std::io::{Error, ErrorKind};

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Bytes of one read; small, because messages are small and there are thousands of sockets.
const READ_BYTES: usize = 8 * 1024;
/// Bytes of one read inside a longer message, such as the list of a large room.
const READ_MORE_BYTES: usize = 256 * 1024;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Number of bytes in the buffer that were not parsed.
    filled: usize,
    /// Number of bytes missing to the current message, if known.
    lacking: usize,
}

/// A frame in the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    header: usize,
    end: usize,
}

impl Wire {
    /// A WebSocket over `stream`, after the handshake.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            filled: 0,
            lacking: 0,
        }
    }

    /// Waits for bytes, and passes every complete message to the callback. Cancel-safe.
    pub async fn receive(
        &mut self,
        mut receive: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.stream.readable().await?;
        let more = self.lacking.clamp(READ_BYTES, READ_MORE_BYTES);
        if self.buffer.len() < self.filled + more {
            self.buffer.resize(self.filled + more, 0);
        }
        match self.stream.try_read(&mut self.buffer[self.filled..]) {
            Ok(0) => bail!("the server ended the connection"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        self.lacking = 0;
        while let Some(frame) = frame(&self.buffer[at..self.filled])? {
            if at + frame.end > self.filled {
                self.lacking = at + frame.end - self.filled;
                break;
            }
            let payload = &self.buffer[at + frame.header..at + frame.end];
            match frame.opcode {
                TEXT => receive(std::str::from_utf8(payload).context("a text that is no UTF-8")?)?,
                PING => {
                    let pong = masked(PONG, payload);
                    // A failed pong is detected by the next read.
                    let _ = self.stream.try_write(&pong);
                }
                CLOSE => {
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    bail!("the server closed: {code:?}");
                }
                other => bail!("a server does not send frames of opcode {other}"),
            }
            at += frame.end;
        }
        if at > 0 {
            self.buffer.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
        if self.filled <= READ_BYTES && self.buffer.len() > 2 * READ_BYTES {
            // Thousands of participants each keep a buffer.
            self.buffer.truncate(2 * READ_BYTES);
            self.buffer.shrink_to_fit();
        }
        Ok(())
    }

    /// Sends a text message.
    pub async fn send_message(&mut self, text: &str) -> Result<(), Error> {
        self.stream.write_all(&masked(TEXT, text.as_bytes())).await
    }
}

/// The frame at the start of `bytes`; `None` if its header is incomplete.
fn frame(bytes: &[u8]) -> anyhow::Result<Option<Frame>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(
        first & FINAL != 0,
        "a server does not send parts of messages"
    );
    ensure!(second & MASKED == 0, "a server does not mask");
    let (header, length) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (2, u64::from(*length)),
    };
    let end = header + usize::try_from(length)?;
    let opcode = first & 0x0f;
    Ok(Some(Frame {
        opcode,
        header,
        end,
    }))
}

/// A client frame with an all-zero mask, which saves CPU time; no proxy is on the path.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![FINAL | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => wire.push(MASKED | length),
        (_, Ok(length)) => {
            wire.push(MASKED | 126);
            wire.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            wire.push(MASKED | 127);
            wire.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(&[0; 4]);
    wire.extend_from_slice(payload);
    wire
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn it_understands_a_server_and_is_understood() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let (mut wire, theirs) = (Wire::new(ours.unwrap()), theirs.unwrap().0);
        let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let texts = [1, 125, 126, 65_536].map(|length| "x".repeat(length));
        let talking = async {
            for text in &texts {
                server.send(Message::text(text.clone())).await.unwrap();
            }
            server.send(Message::Ping("?".into())).await.unwrap();
            let mut answers = Vec::new();
            for _ in 0..=texts.len() {
                answers.push(server.next().await.unwrap().unwrap());
            }
            server.close(None).await.unwrap();
            answers
        };
        let hearing = async {
            let mut results = Vec::new();
            for text in &texts {
                wire.send_message(text).await.unwrap();
            }
            loop {
                let result = wire.receive(|text| {
                    results.push(text.to_owned());
                    Ok(())
                });
                if let Err(error) = result.await {
                    return (results, error.to_string());
                }
            }
        };
        let (answers, (results, end)) = tokio::join!(talking, hearing);
        assert_eq!(results, texts);
        assert!(end.contains("closed"), "{end}");
        for text in texts {
            assert!(answers.contains(&Message::text(text)));
        }
        assert!(answers.contains(&Message::Pong("?".into())));
    }
}
