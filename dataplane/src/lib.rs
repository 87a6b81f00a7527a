//! The data plane of Spillway: receives, decrypts, forwards, encrypts, sends.
//!
//! It knows sessions, tracks and subscriptions, and nothing of rooms, users or regions. One thread per
//! core (a *shard*) owns everything it touches; a control thread talks to the control plane. See
//! `docs/life-of-a-packet.md` for how they work together.

pub mod limits; // limits, with units
pub mod key; // names of sessions, tracks, layers, shards
pub mod drop_reason; // why a packet was not forwarded

pub mod io; // the kernel: sockets, clock, random source
pub mod ice; // our addresses, and credentials that any shard can check
pub mod dtls; // DTLS keys and handshake failures
pub mod srtp; // SRTP keys and ciphers
pub mod turn; // TURN server
pub mod stream; // clients over TCP and TLS
pub mod config; // settings

pub mod media; // tracks, their packets, and one subscriber's view of them
pub mod report; // counters and their metrics
pub mod send; // outgoing RTP of subscribers
pub mod peer; // one session

pub mod mesh; // messages between threads
pub mod tree; // distribution of a track's layers to shards and links
pub mod shard; // state of a shard
pub mod path; // the hops of a packet, in order
pub mod event_loop; // the loop of a shard
pub mod control; // the control thread: lobby, directory, gRPC
pub mod start; // from a configuration to running threads
