//! Peers that an allocation permits, by address without port (RFC 8656 section 9).

use std::net::IpAddr;
use std::time::Instant;

use crate::limits::{MAX_PERMISSIONS, PERMISSION_LIFETIME};

/// Permissions of one allocation.
#[derive(Debug, Default)]
pub(super) struct Permissions(Vec<Permission>);

#[derive(Debug)]
struct Permission {
    ip: IpAddr,
    expires: Instant,
}

impl Permissions {
    /// Number of entries, expired ones included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// True when `ip` has a permission.
    pub(super) fn allows(&self, now: Instant, ip: IpAddr) -> bool {
        self.0
            .iter()
            .any(|permission| permission.ip == ip && permission.expires > now)
    }

    /// True when permissions for all of `ips` fit.
    pub(super) fn have_room(&mut self, now: Instant, ips: impl Iterator<Item = IpAddr>) -> bool {
        self.0.retain(|permission| permission.expires > now);
        let new = ips.filter(|ip| !self.allows(now, *ip)).count();
        self.0.len() + new <= MAX_PERMISSIONS
    }

    /// Installs or refreshes the permission for `ip`. There must be space for it.
    pub(super) fn install(&mut self, now: Instant, ip: IpAddr) {
        let expires = now + PERMISSION_LIFETIME;
        if let Some(known) = self.0.iter_mut().find(|permission| permission.ip == ip) {
            known.expires = expires;
            return;
        }
        if self.0.is_empty() {
            self.0.reserve_exact(1); // most allocations have one peer
        }
        self.0.push(Permission { ip, expires });
    }
}
