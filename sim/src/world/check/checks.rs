//! What the invariants remember between two looks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::entitled::Entitled;
use super::lags::Lags;
use super::orphans::Orphans;
use crate::clock::Time;
use crate::node::{CallId, NodeCall};

/// Time between two looks.
pub(in crate::world) const INTERVAL: Duration = Duration::from_millis(250);
/// Numbers of the calls by which the world itself reads the state of nodes.
pub(super) const OWN_CALLS: u64 = 1 << 60;

/// What the invariants remember.
#[derive(Default)]
pub(in crate::world) struct Checks {
    /// Frames of sessions that have ended.
    pub(in crate::world) frames: u64,
    /// A media datagram of each person that misbehaves, to be sent again.
    pub(in crate::world) seen_datagrams: BTreeMap<usize, Vec<u8>>,
    pub(super) entitled: Entitled,
    pub(super) own_calls: u64,
    pub(super) lags: Lags,
    pub(super) orphans: Orphans,
}

impl Checks {
    /// True if the world itself made this call.
    pub(in crate::world) fn is_own(&self, call: CallId) -> bool {
        call.0 >= OWN_CALLS
    }

    /// A call arrives at the node at `addr`.
    pub(in crate::world) fn called(&mut self, addr: SocketAddr, number: u64, call: &NodeCall) {
        self.entitled.called(addr, number, call);
    }

    /// The node at `addr` has answered a call.
    /// What was sent before arrives in the time `drains`.
    pub(in crate::world) fn replied(
        &mut self,
        addr: SocketAddr,
        call: (u64, bool),
        (now, drains): (Time, Duration),
    ) {
        self.entitled.replied(addr, call, (now, drains));
    }

    /// The node at `addr` has ended.
    pub(in crate::world) fn node_ended(&mut self, addr: SocketAddr) {
        self.entitled.node_ended(addr);
        self.orphans.node_ended(addr);
    }
}
