//! The data plane of Spillway: receives, decrypts, forwards, encrypts, sends.
//!
//! It knows sessions, tracks and subscriptions, and nothing of rooms, users or regions. One thread per
//! core (a *shard*) owns everything it touches; a control thread talks to the control plane. See
//! `docs/life-of-a-packet.md` for how they work together.

pub mod limits; // every maximum
pub mod config; // what an operator can say

pub mod key; // names of sessions, tracks, layers, shards
pub mod drop_reason; // why a packet was not forwarded
pub mod io; // the kernel: sockets, clock, random source

pub mod shard; // one core's share: the loop and its state
pub mod path; // the hops of a packet, in order
pub mod table; // what a shard knows by name
pub mod timer; // when sessions want to be woken
pub mod peer; // one session
pub mod dtls; // how keys are agreed on, and why not
pub mod srtp; // keys and packets of what we send
pub mod estimate; // what a subscriber's path takes
pub mod send; // what we send to a subscriber under its keys
pub mod ice; // credentials any shard can check
pub mod candidates; // our advertised addresses
pub mod track; // published tracks and their packets
pub mod subscription; // one subscriber's view of a track
pub mod layer; // which layer a subscriber gets
pub mod feedback; // keyframe requests
pub mod level; // how loud a track is

pub mod turn; // relaying for clients that no datagram reaches
pub mod stream; // clients over TCP and TLS

pub mod mesh; // how threads talk
pub mod letter; // what they say
pub mod command; // what the control plane asks of a session
pub mod control; // the control thread: lobby, directory, gRPC
pub mod report; // what is counted, and how it is shown
pub mod rlimit; // what the kernel lets the process have
pub mod start; // from a configuration to running threads
