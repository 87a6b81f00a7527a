//! A data plane: its shards take turns in one thread, and its control thread answers calls of servers.

mod pending; // calls that wait for their results
mod worker; // one shard with its engine
mod state; // the state of a node, and its turns
mod start; // the real parts of a node, with simulated entropy and clocks
mod call; // calls of servers, in the place of gRPC

pub use pending::{CallId, NodeCall, NodeReply, NodeResult, StreamId};
pub use state::{Node, StreamItem};
