//! Histograms of times and lengths.

use std::time::Duration;

/// Histogram of times from receipt to transmission.
#[derive(Debug, Clone, Copy, Default)]
pub struct LatencyHistogram {
    pub(super) counts: [u64; BOUNDS_US.len() + 1],
    pub(super) sum: Duration,
}

/// Histogram of the lengths of runs, in datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunHistogram {
    pub(super) counts: [u64; BOUNDS_DATAGRAMS.len() + 1],
    pub(super) datagrams: u64,
}

/// Upper bounds of the buckets of run lengths, in datagrams.
pub(super) const BOUNDS_DATAGRAMS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Upper bounds of the buckets of times, in microseconds.
pub(super) const BOUNDS_US: [u64; 10] = [25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 25_600];

impl RunHistogram {
    /// Counts a run of `datagrams` datagrams.
    pub fn record(&mut self, datagrams: usize) {
        self.counts[BOUNDS_DATAGRAMS.partition_point(|bound| *bound < datagrams)] += 1;
        self.datagrams += datagrams as u64;
    }

    /// Number of recorded runs.
    pub fn runs(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Number of runs with more than one datagram. These are media, because reports and responses to checks are sent
    /// alone.
    #[cfg(test)]
    pub fn joined(&self) -> u64 {
        self.counts[1..].iter().sum()
    }
}

impl LatencyHistogram {
    /// Counts `packets` that took `time` each.
    pub fn record(&mut self, time: Duration, packets: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += packets;
        self.sum += time * u32::try_from(packets).unwrap_or(u32::MAX);
    }
}
