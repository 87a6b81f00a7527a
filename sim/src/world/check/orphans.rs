//! Since when sessions, leases and tracks are without an owner.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::since::SinceWhen;

/// Since when things are without an owner.
#[derive(Default)]
pub(super) struct Orphans {
    pub(super) sessions: SinceWhen<(SocketAddr, String)>,
    pub(super) leases: SinceWhen<(SocketAddr, String)>,
    pub(super) tracks: SinceWhen<(SocketAddr, String, String)>,
    pub(super) silent: SinceWhen<(SocketAddr, String)>,
    /// Sessions with the lease of another server than the participant's.
    pub(super) foreign: SinceWhen<(SocketAddr, String)>,
    /// Shard of each connected session.
    pub(super) shards: BTreeMap<(SocketAddr, String), u32>,
}

impl Orphans {
    pub(super) fn node_ended(&mut self, node: SocketAddr) {
        self.sessions.keep(|(of, _)| *of != node);
        self.leases.keep(|(of, _)| *of != node);
        self.tracks.keep(|(of, _, _)| *of != node);
        self.silent.keep(|(of, _)| *of != node);
        self.foreign.keep(|(of, _)| *of != node);
        self.shards.retain(|(of, _), _| *of != node);
    }
}
