//! The words of a conversation: what clients say and are told, as text.

pub mod spillway; // docs/protocol.md
