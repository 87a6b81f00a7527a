//! Invariants that are looked at from time to time, and at the end.

mod since; // since when something is so
mod entitled; // what sessions may get, from the calls to their node
mod lags; // since when servers and people are behind
mod orphans; // since when things are without an owner
mod checks; // what the invariants remember
mod look; // invariants 1 to 3 at each datagram; the others from time to time
mod roster; // invariants 5 and 6: servers and clients agree, nobody is removed while talking
mod owners; // invariant 7: nothing is without an owner
mod waiting; // invariant 8: nobody waits too long
mod bounds; // invariants 4, 9 and 10: counts, queues, memory

pub(super) use checks::{Checks, INTERVAL};
