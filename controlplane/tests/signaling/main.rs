//! The control plane through its public signaling API, with a simulated data plane.

#![allow(clippy::unwrap_used)] // in a test a panic is a failure

mod admin; // the admin API
mod bad_input; // named errors without effect on other participants
mod budget; // budgets of participants
mod call; // join, publish, subscribe, talk, leave
mod client; // a client that checks all received messages
mod connections; // time limits and numbers of TCP connections
mod corpus; // untrusted messages
mod fake; // a simulated data plane
mod ownership; // owners of sessions, and a full data plane
mod protocol; // the documents match the code
mod relays; // TURN credentials and their lifetime
mod restart; // end of the data plane, end of the control plane
mod resume; // clients that resume after a broken socket
