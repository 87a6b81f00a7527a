//! Counters of certificate reloads: written by the task that reloads, read for the metrics. Shards pass the counters on
//! with their reports, because all shards share one certificate.

use std::sync::atomic::{AtomicU64, Ordering};

use spillway_certificate::Observer;

/// Counters since the first read of the certificate. They are independent, so relaxed atomics are enough.
#[derive(Debug, Default)]
pub struct Renewals {
    ends_at_s: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Renewals {
    /// Expiry of the served certificate, seconds since 1970.
    pub fn ends_at_s(&self) -> u64 {
        self.ends_at_s.load(Ordering::Relaxed)
    }

    /// Number of certificates that were replaced.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Number of new certificates that could not be used.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Observer for Renewals {
    fn ends_at(&self, unix_s: u64) {
        self.ends_at_s.store(unix_s, Ordering::Relaxed);
    }

    fn renewed(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}
