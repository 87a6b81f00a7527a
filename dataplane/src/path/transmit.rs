//! Hop 7: datagrams to the kernel, in batches. Comes from [`super::seal`].
//!
//! Never blocks: what the send buffer has no room for waits for the next turn, up to a bound.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use str0m::net::DatagramSend;

use crate::drop_reason::DropReason;
use crate::io::clock;
use crate::io::sys::{Outgoing, SendBatch};
use crate::limits::{MAX_UNSENT, SEND_BATCH};
use crate::report::ShardReport;

/// A datagram on its way out.
#[derive(Debug)]
pub struct Departure {
    /// What is in it.
    pub contents: DatagramSend,
    /// Who shall get it.
    pub destination: SocketAddr,
    /// The local address to send from.
    pub source: Option<IpAddr>,
    /// When the media in it arrived; `None` for handshakes and reports.
    pub arrived: Option<Instant>,
}

/// Datagrams of one address family that wait to be sent.
pub struct Departures {
    waiting: Vec<Departure>,
    batch: SendBatch,
}

impl Outgoing for Departure {
    fn bytes(&self) -> &[u8] {
        &self.contents
    }

    fn destination(&self) -> SocketAddr {
        self.destination
    }

    fn source(&self) -> Option<IpAddr> {
        self.source
    }
}

impl Departures {
    /// Allocates the headers.
    pub fn new() -> Self {
        Self {
            waiting: Vec::new(),
            batch: SendBatch::new(SEND_BATCH),
        }
    }

    /// Adds a datagram; drops it when too many wait.
    pub fn push(&mut self, departure: Departure, report: &mut ShardReport) {
        if self.waiting.len() >= MAX_UNSENT {
            report.drops.count(DropReason::SendBufferFull);
            return;
        }
        self.waiting.push(departure);
    }

    /// Sends what waits. True when some of it still does.
    pub fn flush(&mut self, socket: BorrowedFd<'_>, report: &mut ShardReport) -> bool {
        let mut start = 0;
        while start < self.waiting.len() {
            match self.batch.send(socket, &self.waiting[start..]) {
                Ok(count) => {
                    account(&self.waiting[start..start + count], report);
                    start += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // About the first alone (see sendmmsg): a client that is gone, an unreachable net.
                    tracing::trace!(%error, to = %self.waiting[start].destination, "send");
                    report.drops.count(DropReason::SendRefused);
                    start += 1;
                }
            }
        }
        self.waiting.drain(..start);
        !self.waiting.is_empty()
    }
}

impl Default for Departures {
    fn default() -> Self {
        Self::new()
    }
}

fn account(sent: &[Departure], report: &mut ShardReport) {
    report.traffic.packets_out += sent.len() as u64;
    report.traffic.bytes_out += sent.iter().map(|d| d.contents.len() as u64).sum::<u64>();
    let now = clock::now();
    for arrived in sent.iter().filter_map(|departure| departure.arrived) {
        report
            .latency
            .record(now.saturating_duration_since(arrived), 1);
    }
}
