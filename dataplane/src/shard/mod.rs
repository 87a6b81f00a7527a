//! One core's share of the node: its sessions, tracks and packets. Nothing here is shared or locked, nothing does IO, and
//! nothing knows the hops of a packet: [`path`](crate::path) and [`event_loop`](crate::event_loop) stand on it.

pub mod backlog; // media that some subscribers have yet to get
mod contested; // addresses that several sessions ask for
mod dirty; // sessions to come back to
pub mod egress; // everything by which clients are reached
mod foreign; // addresses of sessions on other shards
pub mod forwarding; // media on its way
mod keyframes; // keyframe requests, from subscribers to publishers
pub mod link_table; // links to other nodes
mod links; // tracks from and for other nodes
mod layers; // which layer each subscriber gets
pub mod next_hop; // clients that are reached through TURN, a stream or another shard
mod notify; // what other threads are told
pub mod peer_table; // sessions by address, ufrag and key
mod periodic; // when it measures and reports
mod repair; // what a session gets of the history of a track
pub mod route; // where datagrams from an address go
pub mod schedule; // sessions with packets to seal
pub mod state; // all of it
mod subscriptions; // tracks and their subscribers
pub mod track_table; // tracks by key
pub mod turn_service; // TURN on this shard

pub use state::Shard;
