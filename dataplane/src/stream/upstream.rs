//! The upstream side of an HTTP connection: our connection to the control plane. Bytes are copied in both directions.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use rustix::event::epoll::EventFlags;

use super::layer::{ReadOutcome, read_outcome};
use crate::limits::PROXY_BYTES;

pub(super) struct Upstream {
    pub(super) socket: TcpStream,
    is_connected: bool,
    /// Bytes of the client that the upstream has not accepted.
    waiting: Vec<u8>,
    /// True when the client will send no more bytes.
    client_ended: bool,
    /// True when the upstream accepts no more bytes; its response may still be readable.
    pub(super) rejects_writes: bool,
    /// True when the upstream will send no more bytes.
    pub(super) has_ended: bool,
    /// True when the upstream has sent at least one byte.
    pub(super) has_answered: bool,
    /// Events that epoll watches; empty while the socket is not registered.
    pub(super) watched: EventFlags,
}

/// Capacity in bytes that an empty queue keeps.
const KEPT_BYTES: usize = 4_096;

/// Response to the client when the upstream does not respond.
pub(super) const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 42\r\n\r\nsignaling is not reachable from this node\n";
/// Response to the client when HTTP is not served.
pub(super) const NOT_SERVED: &[u8] = b"HTTP/1.1 421 Misdirected Request\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 30\r\n\r\nonly turn is served over here\n";

impl Upstream {
    /// Starts a connection to the upstream at `to`.
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            socket: socket.into(),
            is_connected: false,
            waiting: Vec::new(),
            client_ended: false,
            rejects_writes: false,
            has_ended: false,
            has_answered: false,
            watched: EventFlags::empty(),
        })
    }

    /// Queues bytes for the upstream, unless it accepts no more.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.rejects_writes {
            self.waiting.extend_from_slice(bytes);
        }
    }

    pub(super) fn client_ended(&mut self) {
        self.client_ended = true;
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// True until the connection succeeds or fails.
    pub(super) fn is_connecting(&self) -> bool {
        !self.is_connected && !self.has_ended
    }

    /// Events that epoll should watch while `due_bytes` wait for the client.
    pub(super) fn wanted_events(&self, due_bytes: usize) -> EventFlags {
        let mut flags = EventFlags::empty();
        if self.has_ended {
            return flags;
        }
        if due_bytes < PROXY_BYTES {
            flags |= EventFlags::IN;
        }
        if !self.is_connected || !self.waiting.is_empty() {
            flags |= EventFlags::OUT;
        }
        flags
    }

    /// Writes queued bytes; the first call also completes the connection. A failed write is not an error, because the
    /// response may be readable.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.is_connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            if self.socket.peer_addr().is_err() {
                return Ok(()); // not connected yet
            }
            self.is_connected = true;
        }
        let mut written = 0;
        while written < self.waiting.len() {
            match self.socket.write(&self.waiting[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "http is passed on no further");
                    self.rejects_writes = true;
                    written = self.waiting.len();
                }
            }
        }
        self.waiting.drain(..written);
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT_BYTES);
        }
        if self.waiting.is_empty() && self.client_ended {
            self.client_ended = false; // end of stream is sent once
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        let got = read_outcome(self.socket.read(buffer));
        match got {
            Ok(ReadOutcome::Bytes(_)) => self.has_answered = true,
            Ok(ReadOutcome::End) => self.has_ended = true,
            Ok(ReadOutcome::Nothing) | Err(_) => {}
        }
        got
    }
}
