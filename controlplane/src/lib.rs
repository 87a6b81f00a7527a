//! The control plane: signaling, rooms, the store, the page, the admin API and the CLI.
//!
//! Path of a request: `http` -> `signaling::socket` -> `signaling::Session` -> `hub` ->
//! `room::Room` -> `fleet` (nodes) and `store` (history), and back through `hub` to the sockets.
//! Media does not pass through the control plane.

pub mod limits; // limits, with units
pub mod clock; // the only clock
pub mod entropy; // the only random source
pub mod json; // JSON parser for untrusted texts
pub mod name; // syntax of names
pub mod ids; // names and identifiers
pub mod history; // events of a room, and the resulting participants
pub mod auth; // tokens, grants, resume keys
pub mod turn; // TURN credentials
pub mod metrics; // Prometheus metrics
pub mod tls; // TLS of the HTTP port
pub mod store; // room histories, in memory or on Redis
pub mod config; // settings
pub mod fleet; // nodes, and the connections to them
pub mod room; // the logic of one room
pub mod hub; // runs the rooms
mod connection; // a client's connection with deadlines
pub mod signaling; // session of one signaling client
pub mod http; // routes, the page, the admin API
pub mod descriptors; // limit of open files
pub mod serve; // builds and runs a server
mod terminal; // output of commands
pub mod up; // `spillway up`: server and data plane together
pub mod cli; // the command line

#[cfg(test)]
mod properties; // what the properties for generated input share
