//! Distribution of a track: where it enters the node, which shards and links get copies of which layers, and where
//! keyframe requests go. Sans-IO: shards execute the decisions.
//!
//! Demand travels from subscribers towards the publisher, media the other way. A track enters a node on one shard, its
//! *home*: from a session of that shard, or over a link from another node. The home gives one copy to each shard and each
//! link that needs the layer.

pub mod keyframes; // keyframe requests, merged and repeated
pub mod link; // messages between nodes, and the queue of a link
pub mod route; // one track on one shard
pub mod source; // where packets come from and go to
