//! Counters of shards, and their Prometheus metrics.
//!
//! Shards count in plain integers and send a copy now and then; nothing here is touched by a packet.

mod histogram; // histograms of times and lengths
mod metrics; // metrics of all shards as text
mod quality; // quality of calls for subscribers
mod quality_metrics; // quality of calls as metrics
mod shard_report; // the counters of one shard
mod streams; // metrics of TCP and TLS streams
mod text; // format of metrics
mod turn; // metrics of TURN

pub use metrics::open_metrics;
pub use quality::{Quality, Sample};
pub use shard_report::{ShardReport, Traffic};
