//! The control plane: signaling, rooms, the store, the page, the admin API and the CLI.
//!
//! A request's way: `http` -> `signaling::socket` -> `signaling::Session` -> `hub` -> `room::Room`
//! -> `fleet` (the nodes) and `store` (the history), and back through `hub` to every socket.
//! Media never comes here.

pub mod limits; // every maximum
pub mod clock; // the only clock
pub mod entropy; // the only random source
pub mod json; // texts of others
pub mod name; // what names are made of
pub mod ids; // names and identifiers
pub mod history; // a room's events, and what they come to
pub mod auth; // tokens, grants, resume keys
pub mod turn; // credentials of the relay
pub mod metrics; // what is counted
pub mod tls; // the port's certificate, and what comes in
pub mod store; // what outlives a server
pub mod config; // settings
pub mod fleet; // nodes, and the connections to them
pub mod room; // the logic of one room
pub mod hub; // runs the rooms
mod connection; // a client's connection with deadlines
pub mod signaling; // one client's conversation
pub mod http; // routes, the page, the admin API
pub mod descriptors; // how many files may be open
pub mod serve; // puts the parts together
mod terminal; // what commands say
pub mod up; // everything embedded
pub mod cli; // commands
