//! Remembers since when something is so.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;

/// Since when something is so, by key; what is no longer so is forgotten.
#[derive(Debug)]
pub(super) struct SinceWhen<K>(BTreeMap<K, Time>);

impl<K: Ord> Default for SinceWhen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> SinceWhen<K> {
    /// Notes whether `key` is so. Returns for how long it has been so.
    pub(super) fn note(&mut self, key: K, is_so: bool, now: Time) -> Duration {
        if !is_so {
            self.0.remove(&key);
            return Duration::ZERO;
        }
        now.since(*self.0.entry(key).or_insert(now))
    }

    /// Forgets all keys but those in `kept`.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_kept(key));
    }
}
