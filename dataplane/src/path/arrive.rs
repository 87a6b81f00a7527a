//! Hop 1: a batch of datagrams from the socket. Goes to [`super::classify`].
//!
//! The kernel joins datagrams of one flow that came together (UDP_GRO): one message, one walk through
//! its network stack, several datagrams.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::drop_reason::DropReason;
use crate::io::sys::ReceiveBatch;
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES, RECEIVE_BATCH};
use crate::report::ShardReport;

/// The receive buffers of one socket.
pub struct Arrivals {
    batch: ReceiveBatch,
    /// SO_RXQ_OVFL counts since the socket was made; what was reported of it.
    reported_overflows: u32,
}

/// Datagrams from one source, in their receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Joined<'a> {
    bytes: &'a [u8],
    segment_bytes: usize,
    source: SocketAddr,
    local: Option<IpAddr>,
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
            batch: ReceiveBatch::new(RECEIVE_BATCH, MAX_MESSAGE_BYTES),
            reported_overflows: 0,
        }
    }

    /// Messages that one [`take`](Self::take) can bring.
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

    /// Message `index` of the last take; `None` when it was dropped.
    pub fn get(&mut self, index: usize, report: &mut ShardReport) -> Option<Joined<'_>> {
        let received = self.batch.get(index)?;
        if let Some(overflows) = received.queue_overflows {
            report.kernel_drops += u64::from(overflows.wrapping_sub(self.reported_overflows));
            self.reported_overflows = overflows;
        }
        if received.truncated {
            report.drops.count(DropReason::Truncated);
            return None;
        }
        Some(Joined {
            bytes: received.bytes,
            segment_bytes: received.segment_bytes.max(1),
            source: received.source,
            local: received.local,
        })
    }
}

impl<'a> Joined<'a> {
    /// Each datagram, counted; `None` where it was too long.
    pub fn datagrams(
        self,
        report: &mut ShardReport,
    ) -> impl Iterator<Item = Arrived<'a>> + use<'a> {
        let count = self.bytes.len().div_ceil(self.segment_bytes).max(1);
        report.traffic.packets_in += count as u64;
        report.traffic.bytes_in += self.bytes.len() as u64;
        let too_long = self.segment_bytes > MAX_DATAGRAM_BYTES;
        if too_long {
            report.drops.count_many(DropReason::Truncated, count);
        }
        let bytes = if too_long { &[] } else { self.bytes };
        bytes.chunks(self.segment_bytes).map(move |bytes| Arrived {
            bytes,
            source: self.source,
            local: self.local,
        })
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new()
    }
}
