//! One core's share of the node: its sessions, tracks and packets. Nothing here is shared or locked, nothing does IO, and
//! nothing knows the hops of a packet: [`path`](crate::path) and [`event_loop`](crate::event_loop) stand on it.

pub mod backlog; // media that waits for subscribers
mod contested; // addresses that several sessions ask for
mod dirty; // sessions that need a new choice of layers
pub mod egress; // TURN, streams and next hops
mod foreign; // addresses of sessions on other shards
pub mod forwarding; // media between receive and seal
mod keyframes; // keyframe requests, from subscribers to publishers
pub mod link_table; // links to other nodes
mod links; // tracks from and for other nodes
mod layers; // choice of layers for subscribers
pub mod next_hop; // addresses reached through TURN, a stream or another shard
mod notify; // notifications to other threads
pub mod peer_table; // sessions by address, ufrag and key
mod periodic; // times of measurements and reports
mod repair; // retransmissions from the history
pub mod route; // home of an address
pub mod schedule; // per-session queues of packets waiting to be sealed
pub mod state; // the shard's state
mod subscriptions; // tracks and their subscribers
pub mod track_table; // tracks by key
pub mod turn_service; // TURN on this shard

pub use state::Shard;
