//! One address of a client: its last packets, and the proof that the client receives there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use spillway_wire::stun::TransactionId;

pub(super) struct Path {
    pub(super) remote: SocketAddr,
    /// Our address that the client nominated, or first sent to. Media and the handshake are sent from it.
    pub(super) local: Option<IpAddr>,
    /// Our address that the latest check was sent to. Its response is sent from it.
    pub(super) checked_local: Option<IpAddr>,
    /// Time of the last authenticated packet from the address.
    pub(super) last_received: Option<Instant>,
    /// Time of the last report to the shard that receives from the address.
    pub(super) last_reported: Option<Instant>,
    pub(super) proof: Proof,
}

#[derive(Clone, Copy)]
pub(super) enum Proof {
    Proven,
    Missing(Challenge),
}

/// A pending request to an address that is not proven.
#[derive(Clone, Copy)]
pub(super) struct Challenge {
    pub(super) transaction: TransactionId,
    pub(super) received_bytes: usize,
    pub(super) sent_bytes: usize,
    /// Time of the next request; `None` after the last one.
    pub(super) next: Option<Instant>,
    pub(super) pause: Duration,
    /// Time of the request if it was sent exactly once. The response to a repeated request does not show which one it
    /// answers.
    pub(super) sent_once: Option<Instant>,
}

impl Path {
    /// Time of the request that proves the address, if it was sent exactly once.
    pub(super) fn request_sent(&self) -> Option<Instant> {
        match self.proof {
            Proof::Missing(challenge) => challenge.sent_once,
            Proof::Proven => None,
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        match self.proof {
            Proof::Proven => true,
            Proof::Missing(_) => false,
        }
    }
}
