//! A signaling server: the real rooms, actors and signaling sessions. Sockets, calls and timers are simulated.

mod net; // calls to the store and to nodes, as futures
mod tasks; // futures of a server, polled in order
mod link; // the connection to one node
mod room_task; // one room with its appends in flight
mod socket; // one signaling socket
mod state; // the state of a server, and what it does when it has work
mod nodes; // follows nodes: events, state, leases
mod rooms; // runs the actors of rooms
mod sockets; // runs signaling sessions

pub use net::{Call, StoreCall, StoreReply, StoreResult};
pub use socket::FromServer;
pub use state::Server;
