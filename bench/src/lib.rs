//! Probes and load generators for a running Spillway.

pub mod canary; // a synthetic call through the public signaling API, as a health probe
pub mod fanout; // publishers and subscribers against a data plane
pub mod saturate; // increasing numbers of subscribers, until a resource is exhausted
pub mod peers; // the same load on another server, side by side
pub mod ceiling; // maximum rate of the host
pub mod signal; // many participants on signaling nodes
pub mod turn; // TURN servers, side by side

pub mod output; // the JSON line of results
pub mod host; // the host under test
pub mod net; // datagrams of thousands of addresses
pub mod http; // HTTP requests with a timeout
pub mod link; // one peer connection over its own UDP socket
pub mod media; // synthetic packets that can be counted and timed
