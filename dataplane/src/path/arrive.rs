//! Hop 1: receives a batch of datagrams from the sockets. Next: [`super::classify`].
//!
//! The kernel may join datagrams of one flow into one message (UDP_GRO), so several datagrams pass the network stack at
//! the cost of one.

use std::net::{IpAddr, SocketAddr};

use crate::drop_reason::DropReason;
use crate::io::engine::Engine;
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::peer::paths::Checked;
use crate::report::ShardReport;

/// Datagrams that the kernel dropped because the receive buffer was full, per socket, as last reported (SO_RXQ_OVFL
/// counts since the creation of the socket).
#[derive(Debug, Default)]
pub struct Overflows([u32; SOCKETS]);

/// Maximum number of sockets of a shard: IPv4 and IPv6, for media and for TURN.
const SOCKETS: usize = 4;

/// One received message: one or more datagrams of one source, in the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedMessage<'a> {
    bytes: &'a [u8],
    segment_bytes: usize,
    source: SocketAddr,
    local: Option<IpAddr>,
    /// Index of the shard's socket that received the datagram.
    pub socket: usize,
}

/// One datagram in the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Payload of the datagram.
    pub bytes: &'a [u8],
    /// Source address of the datagram.
    pub source: SocketAddr,
    /// The local address that the datagram was sent to, if known.
    pub local: Option<IpAddr>,
    /// True if the datagram came through the TURN server or a stream of this process. Replies must leave the same way.
    pub inside: bool,
}

impl Arrived<'_> {
    /// Source and local address of the datagram, for a verified connectivity check.
    pub fn checked(&self, nominates: bool) -> Checked {
        Checked {
            remote: self.source,
            local: self.local,
            nominates,
            // Datagrams from inside the process came over TCP or through the TURN server. Both have proven the client's
            // address.
            is_proven: self.inside,
        }
    }
}

/// Receives messages; returns their number, and whether more may wait.
pub fn receive(engine: &mut Engine, report: &mut ShardReport) -> (usize, bool) {
    engine.receive().unwrap_or_else(|error| {
        // A queued error of an earlier send (ECONNREFUSED), not a fault of the socket.
        tracing::trace!(%error, "receive");
        report.drops.count(DropReason::SendRefused);
        (0, false)
    })
}

impl Overflows {
    /// Message `index` of the last [`receive`]; `None` if it was truncated and therefore dropped.
    pub fn get<'e>(
        &mut self,
        engine: &'e Engine,
        index: usize,
        report: &mut ShardReport,
    ) -> Option<ReceivedMessage<'e>> {
        let (socket, received) = engine.get(index)?;
        if let Some(overflows) = received.queue_overflows {
            let reported = &mut self.0[socket];
            report.kernel_drops += u64::from(overflows.wrapping_sub(*reported));
            *reported = overflows;
        }
        if received.truncated {
            report.drops.count(DropReason::Truncated);
            return None;
        }
        Some(ReceivedMessage {
            bytes: received.bytes,
            segment_bytes: received.segment_bytes.max(1),
            source: received.source,
            local: received.local,
            socket,
        })
    }
}

impl<'a> ReceivedMessage<'a> {
    /// Counts the datagrams of the message and returns them. Returns no datagram if they are too long.
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
        let (bytes, segment_bytes) = (self.bytes, self.segment_bytes);
        let kept = if too_long { 0 } else { count }; // an empty datagram counts as one
        (0..kept).map(move |index| Arrived {
            bytes: &bytes[index * segment_bytes..bytes.len().min((index + 1) * segment_bytes)],
            source: self.source,
            local: self.local,
            inside: false,
        })
    }
}
