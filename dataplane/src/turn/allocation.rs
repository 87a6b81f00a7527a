//! State of one allocation.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use spillway_wire::stun::{Family, Key, TransactionId};

use super::auth::{Known, SecretId, time_left};
use super::bucket::Bucket;
use super::channel::Channels;
use super::client::Client;
use super::deny::DenyReason;
use super::now::Now;
use super::permission::Permissions;
use super::quota::Account;
use crate::limits::{ALLOCATION_LIFETIME, SESSION_ANSWER_TIME};

/// Index of an allocation; reused after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AllocationId(pub(super) u32);

/// Relayed addresses, lifetime and permitted peers of one client.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) username: Box<[u8]>,
    pub(super) key: Key,
    pub(super) secret: SecretId,
    /// End because its secret was replaced; a Refresh does not extend this.
    pub(super) secret_ends: Option<Instant>,
    /// Time when a media node last sent to the client. Nodes send only to authenticated addresses of live sessions.
    pub(super) served: Option<Instant>,
    pub(super) account: Account,
    /// Transaction of the Allocate request: a repeated request gets the same response.
    pub(super) made_by: TransactionId,
    pub(super) granted_s: u32,
    pub(super) expires: Instant,
    pub(super) ports: Ports,
    /// Families for which a socket was requested from the owner of the server.
    pub(super) with_socket: Families,
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    pub(super) share: Bucket,
    pub(super) to_peer_bytes: u64,
    pub(super) to_client_bytes: u64,
}

/// The relayed port of each family; at least one while the allocation lives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ports {
    v4: Option<u16>,
    v6: Option<u16>,
}

/// A set of address families: IPv4, IPv6 or both.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Families(u8);

impl AllocationId {
    /// The id that no allocation has.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Allocation {
    pub(super) fn known(&self) -> Known<'_> {
        Known {
            username: &self.username,
            key: self.key,
            secret: self.secret,
        }
    }

    /// Lifetime that is granted for the requested `requested`. Expired credentials extend nothing, except for the
    /// participant of a live session, because a browser cannot change the credentials of an allocation.
    pub(super) fn lifetime(&self, requested: Duration, now: Now) -> Result<Duration, DenyReason> {
        let is_served = self
            .served
            .is_some_and(|at| now.instant.saturating_duration_since(at) < SESSION_ANSWER_TIME);
        let limit = match time_left(&self.username, now.unix_s) {
            Some(left) => left + ALLOCATION_LIFETIME,
            None if is_served => ALLOCATION_LIFETIME,
            None => return Err(DenyReason::Expired),
        };
        let left = |ends: Instant| ends.saturating_duration_since(now.instant);
        let granted = requested.min(limit);
        match self.secret_ends.map(left) {
            Some(left) if left < Duration::from_secs(1) => Err(DenyReason::Unauthorized),
            Some(left) => Ok(granted.min(left)),
            None => Ok(granted),
        }
    }

    pub(super) fn has_family_of(&self, ip: IpAddr) -> bool {
        self.ports.get(Family::of(ip)).is_some()
    }
}

impl Ports {
    pub(super) fn get(&self, family: Family) -> Option<u16> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub(super) fn set(&mut self, family: Family, port: Option<u16>) {
        match family {
            Family::V4 => self.v4 = port,
            Family::V6 => self.v6 = port,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Family, u16)> + use<> {
        let v4 = self.v4.map(|port| (Family::V4, port));
        let v6 = self.v6.map(|port| (Family::V6, port));
        v4.into_iter().chain(v6)
    }
}

impl Families {
    /// Adds `family`. True when the set did not contain it.
    pub(super) fn insert(&mut self, family: Family) -> bool {
        let is_new = self.0 & family as u8 == 0;
        self.0 |= family as u8;
        is_new
    }
}
