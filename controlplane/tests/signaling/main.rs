//! The control plane through its public signaling API, with a simulated data plane.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod admin; // what operators see
mod bad_input; // named errors without effect on other participants
mod budget; // what one may cause for others
mod call; // join, publish, subscribe, talk, leave
mod client; // a client that checks everything it is told
mod connections; // deadlines and numbers of TCP connections
mod corpus; // untrusted messages
mod fake; // a data plane that forwards nothing
mod ownership; // owners of sessions, and a full data plane
mod protocol; // the documents and the code say the same
mod relays; // what opens the relay, and for how long
mod restart; // the data plane dies; the control plane dies
mod resume; // broken sockets
