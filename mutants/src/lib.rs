//! Planted bugs, by which the invariants of the simulator are tested: a bug that no invariant finds shows that an
//! invariant is blind.
//!
//! The code that a bug changes asks [`is_planted`]. Without the feature `planted` the answer is a constant, and the bug is not
//! compiled. Only the suite `sim-mutants` has the feature.

/// A planted bug. The documentation says what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The first packet after an address change has the SRTP index of the packet before it.
    ReusedIndexAfterRoaming,
}

impl Mutant {
    /// All planted bugs.
    pub const ALL: &[(Mutant, &str)] =
        &[(Mutant::ReusedIndexAfterRoaming, "reused-index-after-roaming")];

    /// Name of the bug in reports and options.
    pub fn label(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(mutant, _)| *mutant == self)
            .map_or("", |(_, label)| label)
    }
}

/// True if this thread runs with the bug `mutant`.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is_planted(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use planted::{is_planted, plant};

#[cfg(feature = "planted")]
mod planted {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// True if this thread runs with the bug `mutant`.
    pub fn is_planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    /// Lets this thread run with the bug `mutant` from now on; `None`: without a bug.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }
}
