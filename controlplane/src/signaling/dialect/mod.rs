//! Message formats (dialects) of signaling.

pub mod spillway; // docs/protocol.md
