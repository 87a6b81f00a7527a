//! Quotas of allocations: per user, per source, and of all.
//!
//! Users and sources are kept as keyed hashes, and only while they have an allocation. Two with the same hash share a
//! quota.

use std::collections::HashMap;

use ahash::RandomState;

use super::deny::DenyReason;

/// Most allocations there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Allocations of all users together.
    pub allocations: usize,
    /// Allocations of one user.
    pub allocations_per_user: u16,
    /// Allocations from one IPv4 address or IPv6 /64.
    pub allocations_per_source: u16,
    /// Bytes a second that one allocation relays.
    pub allocation_bytes_per_second: u32,
    /// Bytes a second that all relay.
    pub bytes_per_second: u32,
}

/// User and source of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    user: u64,
    source: u64,
}

/// Current allocations per user and source.
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
