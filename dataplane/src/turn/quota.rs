//! Limits of the number of allocations: per user, per source address, and in total.
//!
//! Users and sources are stored as keyed hashes, and only while they have an allocation. Two with the same hash share a
//! limit.

use std::collections::HashMap;

use ahash::RandomState;

use super::deny::DenyReason;

/// Limits of a TURN server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of allocations of all users together.
    pub allocations: usize,
    /// Maximum number of allocations of one user.
    pub allocations_per_user: u16,
    /// Maximum number of allocations from one IPv4 address or IPv6 /64.
    pub allocations_per_source: u16,
    /// Maximum bytes per second that one allocation relays.
    pub allocation_bytes_per_second: u32,
    /// Maximum bytes per second that all allocations relay together.
    pub bytes_per_second: u32,
}

/// Hashes of the user and the source of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    user: u64,
    source: u64,
}

/// Number of allocations per user and per source.
#[derive(Debug)]
pub(super) struct Quotas {
    by_user: HashMap<u64, u16, RandomState>,
    by_source: HashMap<u64, u16, RandomState>,
    total: usize,
    hasher: RandomState,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: crate::limits::MAX_ALLOCATIONS,
            allocations_per_user: crate::limits::MAX_ALLOCATIONS_PER_USER,
            allocations_per_source: crate::limits::MAX_ALLOCATIONS_PER_SOURCE,
            allocation_bytes_per_second: crate::limits::ALLOCATION_BYTES_PER_SECOND,
            bytes_per_second: crate::limits::TURN_BYTES_PER_SECOND,
        }
    }
}

impl Quotas {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            by_user: HashMap::with_hasher(hasher.clone()),
            by_source: HashMap::with_hasher(hasher.clone()),
            total: 0,
            hasher,
        }
    }

    pub(super) fn account(&self, user: &[u8], source: u128) -> Account {
        Account {
            user: self.hasher.hash_one(user),
            source: self.hasher.hash_one(source),
        }
    }

    /// Checks whether one more allocation is allowed.
    pub(super) fn check(&self, account: Account, limits: &Limits) -> Result<(), DenyReason> {
        let taken = |map: &HashMap<u64, u16, RandomState>, key| map.get(&key).copied().unwrap_or(0);
        if taken(&self.by_user, account.user) >= limits.allocations_per_user {
            return Err(DenyReason::UserQuota);
        }
        if taken(&self.by_source, account.source) >= limits.allocations_per_source {
            return Err(DenyReason::SourceQuota);
        }
        if self.total >= limits.allocations {
            return Err(DenyReason::Capacity);
        }
        Ok(())
    }

    pub(super) fn take(&mut self, account: Account) {
        *self.by_user.entry(account.user).or_default() += 1;
        *self.by_source.entry(account.source).or_default() += 1;
        self.total += 1;
    }

    pub(super) fn give_back(&mut self, account: Account) {
        give_back(&mut self.by_user, account.user);
        give_back(&mut self.by_source, account.source);
        self.total -= 1;
    }

    #[cfg(test)]
    pub(super) fn accounts(&self) -> (usize, usize) {
        (self.by_user.len(), self.by_source.len())
    }
}

fn give_back(map: &mut HashMap<u64, u16, RandomState>, key: u64) {
    let count = map.get_mut(&key).expect("it was taken");
    *count -= 1;
    if *count == 0 {
        map.remove(&key);
    }
}
