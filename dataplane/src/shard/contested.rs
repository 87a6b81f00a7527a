//! Sessions that claim an address of another session.
//!
//! A connectivity check proves that its sender knows a password, not that the sender is at the address. If the owner
//! sent from the address in the last 2 s, the check is refused. After that the owner still keeps the address, and its
//! datagrams, until the claimant has proven the address. So forged source addresses take nothing from a silent owner.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::route::Route;
use crate::drop_reason::DropReason;
use crate::limits::MAX_CLAIMS;

/// The latest claim to each address.
#[derive(Debug, Default)]
pub(super) struct ContestedAddresses {
    claim_by_addr: HashMap<SocketAddr, (Route, Instant)>,
}

/// A claim is removed, if space is needed, when the address has not been proven within this time.
const CLAIM_TIME: Duration = Duration::from_secs(10);

impl ContestedAddresses {
    pub(super) fn insert(
        &mut self,
        addr: SocketAddr,
        claimant: Route,
        now: Instant,
    ) -> Result<(), DropReason> {
        let is_full = self.claim_by_addr.len() >= MAX_CLAIMS;
        if is_full && !self.claim_by_addr.contains_key(&addr) {
            self.claim_by_addr
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < CLAIM_TIME);
            if self.claim_by_addr.len() >= MAX_CLAIMS {
                return Err(DropReason::TooManyAddresses);
            }
        }
        self.claim_by_addr.insert(addr, (claimant, now));
        Ok(())
    }

    pub(super) fn get(&self, addr: SocketAddr) -> Option<Route> {
        self.claim_by_addr.get(&addr).map(|(claimant, _)| *claimant)
    }

    /// Removes the claim of `claimant` to `addr`, because the address is proven or given up. True when there was such a
    /// claim.
    pub(super) fn take(&mut self, addr: SocketAddr, claimant: Route) -> bool {
        let is_its = self.get(addr) == Some(claimant);
        if is_its {
            self.claim_by_addr.remove(&addr);
        }
        is_its
    }
}
