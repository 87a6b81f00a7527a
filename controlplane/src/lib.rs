//! The control plane: signaling, rooms, the store, the page, the admin API and the CLI.
//!
//! A request's way: `http` -> `signaling::socket` -> `signaling::Session` -> `hub` -> `room::Room`
//! -> `node` (the data plane) and `store` (the history), and back through `hub` to every socket.
//! Media never comes here.

pub mod auth; // tokens, grants, resume keys
pub mod cli; // commands
pub mod clock; // the only clock
pub mod config; // settings
pub mod descriptors; // how many files may be open
pub mod entropy; // the only random source
pub mod history; // a room's events, and what they come to
pub mod http; // routes, the page, the admin API
pub mod hub; // runs the rooms
pub mod ids; // names and identifiers
pub mod json; // texts of others
pub mod limits; // every maximum
pub mod metrics; // what is counted
pub mod name; // what names are made of
pub mod node; // the data plane
pub mod room; // the logic of one room
pub mod serve; // puts the parts together
pub mod signaling; // one client's conversation
pub mod store; // what outlives a server
pub mod turn; // credentials of the relay
pub mod tls; // the port's certificate, and what comes in
pub mod up; // everything embedded
