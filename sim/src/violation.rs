//! An invariant that does not hold.

use std::fmt;

use crate::clock::Time;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Time when this was seen.
    pub at: Time,
    /// Number of the invariant, see `docs/decisions/0028-the-simulator.md`.
    pub invariant: u8,
    /// What contradicts the invariant.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invariant {}: {}", self.at, self.invariant, self.seen)
    }
}
