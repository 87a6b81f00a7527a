//! Load generators and probes that talk to a running Spillway through its public door.

pub mod canary; // a synthetic call, as a health probe
pub mod client; // one participant
pub mod link; // one peer connection over a UDP socket
pub mod media; // synthetic packets that can be counted and timed
pub mod signal; // the signaling WebSocket
pub mod token; // the right to join
