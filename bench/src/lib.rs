//! Probes and load generators for a running Spillway.

pub mod canary; // a synthetic call through the public signaling API, as a health probe
pub mod fanout; // publishers and subscribers against a data plane
pub mod saturate; // more and more of them, until something is full
pub mod peers; // the same load on another server, side by side
pub mod ceiling; // what the host can do at all
pub mod signal; // many participants on signaling nodes
pub mod turn; // relays, side by side

pub mod output; // the line of figures
pub mod host; // the host under test
pub mod net; // datagrams of thousands of addresses
pub mod http; // questions to a server that may not answer
pub mod link; // one peer connection over a UDP socket of its own
pub mod media; // synthetic packets that can be counted and timed
