//! The hash of a run: everything that was sent and decided, with its virtual time. Two runs of a seed have one hash, on
//! every host.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::clock::Time;

/// Collects what a run sends and decides.
#[derive(Debug, Clone, Default)]
pub struct RunHash {
    hash: Sha256,
    records: u64,
}

/// Hash of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunDigest([u8; 16]);

impl RunHash {
    /// Adds a record. `what` names its kind; lengths are hashed too, so no two lists of parts look alike.
    pub fn record(&mut self, now: Time, what: &str, parts: &[&[u8]]) {
        self.records += 1;
        self.hash.update(now.since_start().as_nanos().to_be_bytes());
        for part in std::iter::once(&what.as_bytes()).chain(parts) {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }

    /// Number of records in the hash.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash of all records so far.
    pub fn digest(&self) -> RunDigest {
        let whole: [u8; 32] = self.hash.clone().finalize().into();
        let (half, _) = whole.split_first_chunk().expect("32 bytes begin with 16");
        RunDigest(*half)
    }
}

impl fmt::Display for RunDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(records: &[(u64, &str, &[&[u8]])]) -> String {
        let mut hash = RunHash::default();
        for (ms, what, parts) in records {
            hash.record(Time::from_ms(*ms), what, parts);
        }
        hash.digest().to_string()
    }

    #[test]
    fn time_kind_order_and_borders_of_parts_count() {
        let one = digest(&[(1, "sent", &[b"ab", b"c"])]);
        assert_eq!(one.len(), 32);
        assert_eq!(one, digest(&[(1, "sent", &[b"ab", b"c"])]));
        for other in [
            digest(&[(2, "sent", &[b"ab", b"c"])]),
            digest(&[(1, "lost", &[b"ab", b"c"])]),
            digest(&[(1, "sent", &[b"a", b"bc"])]),
            digest(&[(1, "sent", &[b"c", b"ab"])]),
            digest(&[(1, "sent", &[b"ab", b"c"]), (1, "sent", &[])]),
            digest(&[]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_digest_may_be_taken_on_the_way() {
        let mut hash = RunHash::default();
        hash.record(Time::ZERO, "sent", &[b"a"]);
        let early = hash.digest();
        assert_eq!(early, hash.digest());
        hash.record(Time::ZERO, "sent", &[b"b"]);
        assert_ne!(early, hash.digest());
        assert_eq!(hash.records(), 2);
    }
}
