//! Descriptions of allocations for the control plane.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Client, Server};

/// Description of one allocation, for the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The client that made the allocation.
    pub client: Client,
    /// Username of the credentials.
    pub username: String,
    /// Relayed addresses: one of each requested family.
    pub relayed: Vec<SocketAddr>,
    /// Number of permissions, including expired ones that were not removed yet.
    pub permissions: usize,
    /// Number of channels, including expired ones that were not removed yet.
    pub channels: usize,
    /// Bytes of data from the client to peers, without TURN headers.
    pub to_peer_bytes: u64,
    /// Bytes of data from peers to the client, without TURN headers.
    pub to_client_bytes: u64,
    /// Seconds until the allocation expires without a Refresh.
    pub expires_in_s: u64,
}

impl Server {
    /// All allocations that have not ended.
    pub fn describe(&self, now: Instant) -> Vec<Description> {
        let live = self.allocations.iter().map(|(_, allocation)| allocation);
        live.filter(|allocation| allocation.expires > now)
            .map(|allocation| {
                let ports = allocation.ports.all();
                let relayed = ports.map(|(family, port)| self.relayed.address(family, port));
                Description {
                    client: allocation.client,
                    username: String::from_utf8_lossy(&allocation.username).into_owned(),
                    relayed: relayed.collect(),
                    permissions: allocation.permissions.len(),
                    channels: allocation.channels.len(),
                    to_peer_bytes: allocation.to_peer_bytes,
                    to_client_bytes: allocation.to_client_bytes,
                    expires_in_s: allocation.expires.duration_since(now).as_secs(),
                }
            })
            .collect()
    }
}
