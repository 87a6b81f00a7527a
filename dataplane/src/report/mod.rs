//! Counters of shards, and their metrics in OpenMetrics format.
//!
//! Shards count in plain integers and regularly send a copy to the control thread, which writes the metrics.

mod histogram; // histograms of times and lengths
mod metrics; // all metrics as text
mod quality; // histograms of call quality
mod quality_metrics; // metrics of call quality
mod shard_report; // counters of one shard
mod streams; // metrics of TCP and TLS streams
mod text; // text format of metrics
mod turn; // metrics of TURN

pub use metrics::open_metrics;
pub use quality::{Quality, Sample};
pub use shard_report::{ShardReport, Traffic};
