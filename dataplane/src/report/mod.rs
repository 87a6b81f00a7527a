//! What a shard counts, and how it is shown to Prometheus.
//!
//! Shards count in plain integers and send a copy now and then; nothing here is touched by a packet.

mod histogram; // times and lengths
mod metrics; // all of it as text
mod quality; // quality of calls for subscribers
mod quality_metrics; // and as text
mod shard_report; // the counters of one shard
mod streams; // of TCP and TLS
mod text; // how metrics are written
mod turn; // of the relay

pub use metrics::open_metrics;
pub use quality::{Quality, Sample};
pub use shard_report::{ShardReport, Traffic};
