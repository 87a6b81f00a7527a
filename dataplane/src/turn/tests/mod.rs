//! The TURN server in virtual time, with clients that authenticate as real ones do.

pub(crate) mod rig; // simulated server and client
mod handshake; // credentials, nonces, algorithms
mod allocating; // Allocate and Refresh
mod lifetimes; // lifetime of an allocation
mod peers; // permitted and forbidden peers
mod binding; // permissions and channels
mod data; // relayed data in both directions
mod unauthenticated; // unauthenticated clients
mod quotas; // quotas of users and sources
mod hostile; // broken messages
mod cost; // bytes and microseconds of an allocation
