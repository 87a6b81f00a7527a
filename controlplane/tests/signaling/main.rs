//! The control plane through its public door, with a data plane that only pretends.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod admin; // what operators see
mod bad_input; // named errors, and nobody else notices
mod budget; // what one may cause for others
mod call; // join, publish, subscribe, talk, leave
mod client; // a client that checks everything it is told
mod connections; // deadlines and numbers of TCP connections
mod corpus; // what strangers send as a message
mod fake; // a data plane that forwards nothing
mod ownership; // whose sessions are whose, and a data plane that is full
mod protocol; // the documents and the code say the same
mod relays; // what opens the relay, and for how long
mod restart; // the data plane dies; the control plane dies
mod resume; // broken sockets
