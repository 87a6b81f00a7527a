//! Probes and load generators for a running Spillway.

pub mod canary; // a synthetic call through the public door, as a health probe
pub mod client; // one participant of it
pub mod link; // one peer connection over a UDP socket
pub mod media; // synthetic packets that can be counted and timed
pub mod signal; // the signaling WebSocket
pub mod token; // the right to join

pub mod net; // datagrams of thousands of addresses
pub mod fanout; // publishers and subscribers against a data plane
pub mod ceiling; // what the host can do at all
pub mod host; // the host under test
pub mod saturate; // more and more, until something is full
pub mod report; // what a capacity planner reads
pub mod peers; // the same load on another server, side by side
