//! The state of one shard (one core): its sessions, tracks and packets. Nothing here is shared, locked or does IO. This
//! module does not know the hops of a packet; [`path`](crate::path) and [`event_loop`](crate::event_loop) use it.

pub mod backlog; // packets that wait to be sealed for subscribers
mod contested; // addresses that several sessions claim
mod dirty; // sessions that need a new choice of layers
pub mod egress; // outgoing queues: media sockets, TURN, streams
mod foreign; // addresses of sessions on other shards
pub mod forwarding; // media between receive and seal
mod keyframes; // keyframe requests, from subscribers to publishers
pub mod link_table; // open links to other nodes
mod links; // tracks received from and sent to other nodes
mod layers; // choice of layers for subscribers
pub mod next_hop; // addresses reached through TURN, a stream or another shard
mod notify; // notifications to other threads
pub mod peer_table; // sessions by address, ufrag and key
mod periodic; // times of measurements and reports
mod repair; // retransmissions from the history
pub mod route; // session of an address: on this shard or another
pub mod schedule; // order in which sessions are served
pub mod state; // the shard's state
mod subscriptions; // connects tracks and their subscribers
pub mod track_table; // tracks by key
pub mod turn_service; // the TURN server of this shard with its sockets

pub use state::Shard;
