//! The data plane, seen from here: commands go out one by one, its state and events come in.
//!
//! What a command means for a room is the room's business; this only delivers.

mod call; // commands as values
mod link; // the connection and its supervision

pub use call::{Call, Done, NodeError};
pub use link::{Lease, Link, NodeHandle, NodeState, NodeUpdate};
