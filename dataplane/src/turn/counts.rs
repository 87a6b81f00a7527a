//! Counters of TURN: plain integers that the shard copies into its report.

use super::client::Transport;
use super::deny::DenyReason;

/// Counters since the start of the server.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    by_transport: [TransportCounts; Transport::COUNT],
    denied: [u64; DenyReason::COUNT],
}

/// Counters of one client transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransportCounts {
    /// Number of allocations that were made.
    pub allocations_made: u64,
    /// Number of allocations that ended.
    pub allocations_ended: u64,
    /// Datagrams from clients to peers.
    pub to_peer_packets: u64,
    /// Bytes of data from clients to peers, without TURN headers.
    pub to_peer_bytes: u64,
    /// Datagrams from peers to clients.
    pub to_client_packets: u64,
    /// Bytes of data from peers to clients, without TURN headers.
    pub to_client_bytes: u64,
}

impl Counts {
    /// Counters of one client transport.
    pub fn of(&self, transport: Transport) -> &TransportCounts {
        &self.by_transport[transport.index()]
    }

    /// Number of refusals for `reason`.
    pub fn denied(&self, reason: DenyReason) -> u64 {
        self.denied[reason.index()]
    }

    pub(super) fn of_mut(&mut self, transport: Transport) -> &mut TransportCounts {
        &mut self.by_transport[transport.index()]
    }

    pub(super) fn deny(&mut self, reason: DenyReason) {
        self.denied[reason.index()] += 1;
    }
}
