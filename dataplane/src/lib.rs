//! The data plane of Spillway: receives, decrypts, forwards, encrypts, sends.
//!
//! It has sessions, tracks and subscriptions, but no rooms, users or regions. One thread per core (a *shard*) owns all
//! its state; a control thread communicates with the control plane. See `docs/life-of-a-packet.md`.

pub mod limits; // limits, with units
pub mod key; // identifiers of shards, sessions, tracks, layers
pub mod drop_reason; // reasons to drop a packet

pub mod io; // the kernel: sockets, clock, random source
pub mod ice; // ICE: advertised addresses, and credentials that every shard can verify
pub mod dtls; // DTLS keys and handshake failures
pub mod srtp; // SRTP keys and ciphers
pub mod turn; // TURN server
pub mod stream; // clients over TCP and TLS
pub mod config; // settings

pub mod media; // tracks, their packets, and one subscriber's view of them
pub mod report; // counters and their metrics
pub mod send; // outgoing packets of subscribers
pub mod peer; // one session

pub mod mesh; // messages between threads
pub mod tree; // distribution of a track's layers to shards and links
pub mod shard; // state of a shard
pub mod path; // the hops of a packet, in order
pub mod event_loop; // the loop of a shard
pub mod control; // the control thread: lobby, directory, gRPC
pub mod start; // starts the threads from a configuration

#[cfg(test)]
mod properties; // what the properties for generated input share
