//! The bytes of a connection, over plain TCP or TLS, and its queue of outgoing bytes.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use rustls::ServerConnection;

/// A socket with or without TLS.
pub(super) struct Layer {
    pub(super) socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Outgoing bytes that neither TLS nor the kernel has accepted; those before `at` are sent.
    waiting: Vec<u8>,
    at: usize,
    /// Lengths of the messages that wait for TLS. Each becomes a TLS record of its own, because some clients (coturn's)
    /// treat the result of one read as one message.
    messages: VecDeque<usize>,
    /// True if the kernel accepted no more bytes at the last attempt.
    pub(super) is_blocked: bool,
}

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Number of bytes that were read.
    Bytes(usize),
    /// No bytes are available now.
    Nothing,
    /// The other side will send no more bytes.
    End,
}

/// Capacity in bytes that an empty outgoing queue keeps.
const KEPT_BYTES: usize = 4_096;
const KEPT_MESSAGES: usize = 32;
/// Maximum bytes of a TLS record.
const RECORD_BYTES: usize = 16_384;
/// Bytes that TLS encrypts before a write to the kernel.
const SEALED_BYTES: usize = 32 * 1_024;
const SEALED_RECORDS: usize = 512;

impl Layer {
    pub(super) fn new(socket: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self {
            socket,
            tls: tls.map(Box::new),
            waiting: Vec::new(),
            at: 0,
            messages: VecDeque::new(),
            is_blocked: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Negotiated ALPN protocol (RFC 7301).
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn_protocol()
    }

    /// Reads available bytes into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        let Some(tls) = &mut self.tls else {
            return read_outcome(self.socket.read(buffer));
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The TLS connection ended without close_notify. Data may be missing at the end, but every message has
                // its length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(ReadOutcome::End);
                }
                other => return read_outcome(other),
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(ReadOutcome::End),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ReadOutcome::Nothing);
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                // Sends the TLS alert with the reason.
                let _ = tls.write_tls(&mut self.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Reads and discards available bytes.
    pub(super) fn discard(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        read_outcome(self.socket.read(buffer))
    }

    /// Number of outgoing bytes that neither TLS nor the kernel has accepted.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.at
    }

    /// True when there are bytes to write.
    pub(super) fn wants_write(&self) -> bool {
        self.waiting_bytes() > 0 || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Queues bytes: of a byte stream, or of a message that [`end_message`](Self::end_message) completes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The last `bytes` that were pushed are one message.
    pub(super) fn end_message(&mut self, bytes: usize) {
        if self.tls.is_some() {
            self.messages.push_back(bytes);
        }
    }

    /// Writes to the kernel. Returns the number of bytes that it accepted.
    pub(super) fn write(&mut self) -> io::Result<usize> {
        self.is_blocked = false;
        let mut written = 0;
        while self.wants_write() && !self.is_blocked {
            match self.write_some() {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.at == self.waiting.len() {
            self.waiting.clear();
            self.waiting.shrink_to(KEPT_BYTES);
            self.messages.shrink_to(KEPT_MESSAGES);
            self.at = 0;
        } else if self.at > self.waiting.len() / 2 {
            self.waiting.drain(..self.at);
            self.at = 0;
        }
        Ok(written)
    }

    fn write_some(&mut self) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            let bytes = nonzero(self.socket.write(&self.waiting[self.at..])?)?;
            self.at += bytes;
            return Ok(bytes);
        };
        if !tls.wants_write() {
            let enough = self.at + SEALED_BYTES;
            for _ in 0..SEALED_RECORDS {
                let rest = &self.waiting[self.at..];
                if rest.is_empty() || self.at >= enough {
                    break;
                }
                let length = self.messages.front().copied().unwrap_or(RECORD_BYTES);
                let sealed = tls.writer().write(&rest[..length.min(rest.len())])?;
                if sealed == 0 {
                    break; // TLS has no more bytes; now the kernel gets them
                }
                self.at += sealed;
                match self.messages.front_mut() {
                    Some(length) if *length > sealed => *length -= sealed,
                    _ => drop(self.messages.pop_front()),
                }
            }
        }
        nonzero(tls.write_tls(&mut self.socket)?)
    }

    /// Sends close_notify (TLS), and shuts down the sending side of the socket.
    pub(super) fn close_write(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

fn nonzero(bytes: usize) -> io::Result<usize> {
    match bytes {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

pub(super) fn read_outcome(read: io::Result<usize>) -> io::Result<ReadOutcome> {
    match read {
        Ok(0) => Ok(ReadOutcome::End),
        Ok(bytes) => Ok(ReadOutcome::Bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::Nothing),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(ReadOutcome::Nothing),
        Err(error) => Err(error),
    }
}
