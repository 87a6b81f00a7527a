//! A world: nodes, servers, a store, people in rooms, the network between them, faults, and the invariants.
//!
//! [`World::run`] takes events in the order of their time until the end. Everything that is sent and decided goes into the
//! hash.

mod message; // messages between hosts
mod state; // the state of a world, and the order of what happens in it
mod draw; // faults of a seed
mod size; // size of a world
mod person; // a person with its device
mod media; // the peer connections of a person
mod acts; // what people do
mod sockets; // the signaling sockets of people
mod faults; // faults that begin and end
mod misbehave; // what no client should send
mod paths; // conditions of the paths of people
mod hosts; // servers and nodes that end and start
mod traffic; // messages and datagrams between hosts
mod witness; // invariants 1 to 3, on what a viewer is sent
mod check; // invariants that are looked at from time to time

pub use draw::{POSSIBLE, draw};
pub use size::Size;
pub use state::{Outcome, World};

#[cfg(test)]
mod tests;
