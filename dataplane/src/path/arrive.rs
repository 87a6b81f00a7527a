//! Hop 1: a batch of datagrams from the socket. Goes to [`super::classify`].

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::drop_reason::DropReason;
use crate::io::sys::ReceiveBatch;
use crate::limits::{MAX_DATAGRAM_BYTES, RECEIVE_BATCH};
use crate::report::ShardReport;

/// The receive buffers of one socket.
pub struct Arrivals {
    batch: ReceiveBatch,
    /// SO_RXQ_OVFL counts since the socket was made; what was reported of it.
    reported_overflows: u32,
}

/// A datagram in its receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// What was in it.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub local: Option<IpAddr>,
}

impl Arrivals {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            batch: ReceiveBatch::new(RECEIVE_BATCH, MAX_DATAGRAM_BYTES),
            reported_overflows: 0,
        }
    }

    /// Datagrams that one [`take`](Self::take) can bring.
    pub fn capacity(&self) -> usize {
        RECEIVE_BATCH
    }

    /// Takes what is there, up to a batch.
    pub fn take(&mut self, socket: BorrowedFd<'_>, report: &mut ShardReport) -> usize {
        match self.batch.receive(socket) {
            Ok(count) => count,
            Err(error) => {
                // An error queued by an earlier send (ECONNREFUSED): it says nothing about this socket.
                tracing::trace!(%error, "receive");
                report.drops.count(DropReason::SendRefused);
                0
            }
        }
    }

    /// Datagram `index` of the last take; `None` when it was dropped.
    pub fn get(&mut self, index: usize, report: &mut ShardReport) -> Option<Arrived<'_>> {
        let received = self.batch.get(index)?;
        report.traffic.packets_in += 1;
        report.traffic.bytes_in += received.bytes.len() as u64;
        if let Some(overflows) = received.queue_overflows {
            report.kernel_drops += u64::from(overflows.wrapping_sub(self.reported_overflows));
            self.reported_overflows = overflows;
        }
        if received.truncated {
            report.drops.count(DropReason::Truncated);
            return None;
        }
        Some(Arrived {
            bytes: received.bytes,
            source: received.source,
            local: received.local,
        })
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new()
    }
}
