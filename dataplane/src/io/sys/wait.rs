//! Readiness of a raw descriptor inside a glommio executor.
//!
//! glommio has no wait for readiness of its own; a pending one-byte peek on a socket and a pending read
//! of an eventfd are completed by the ring exactly when there is something to read.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};

use glommio::io::BufferedFile;
use glommio::net::UdpSocket;

/// Waits until a UDP socket has a datagram or an error to report.
pub struct SocketWait(UdpSocket);

impl SocketWait {
    /// Must be called inside an executor. Works on a duplicate of `socket`.
    pub fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = socket.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: `fd` is an open UDP socket that nobody else owns.
        Ok(Self(unsafe { UdpSocket::from_raw_fd(fd) }))
    }

    /// Returns when there is something to receive; errors of the socket count as such.
    pub async fn readable(&self) {
        // An error (ECONNREFUSED of an earlier send, say) is readiness too: the receive reports it.
        let _ = self.0.peek_from(&mut [0; 1]).await;
    }
}

/// Waits until an eventfd was rung.
pub struct BellWait(BufferedFile);

impl BellWait {
    /// Must be called inside an executor. Works on a duplicate of `eventfd`.
    pub fn new(eventfd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = eventfd.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: `fd` is an open eventfd that nobody else owns.
        Ok(Self(unsafe { BufferedFile::from_raw_fd(fd) }))
    }

    /// Returns when the bell was rung, and silences it.
    pub async fn rung(&self) -> io::Result<()> {
        self.0
            .read_at(0, 8)
            .await
            .map(drop)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}
