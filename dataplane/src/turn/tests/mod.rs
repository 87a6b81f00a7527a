//! How the relay behaves, in virtual time: a server, and clients that sign as real ones do.

pub(crate) mod rig; // the two sides
mod handshake; // credentials, nonces, algorithms
mod allocating; // what an Allocate and a Refresh get
mod lifetimes; // how long it lives at most
mod peers; // permitted and forbidden peers
mod binding; // permissions and channels
mod data; // what is relayed, both ways
mod strangers; // what costs nothing
mod quotas; // how much there may be
mod hostile; // messages that were broken on purpose
mod cost; // bytes and microseconds of an allocation
