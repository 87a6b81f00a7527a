//! The simulator: a fleet in one thread, in virtual time, with faults and invariants. One seed gives one result.
//!
//! The code that decides is the real code of the planes. Time, randomness, the network, the clients and the transports
//! between processes are simulated here. See `docs/decisions/0028-the-simulator.md`.

pub mod clock; // virtual time
pub mod events; // what happens later, in order
pub mod rng; // a stream of random numbers for each actor, from one seed
pub mod hash; // hash of everything sent and decided
pub mod fault; // kinds of faults, and one fault as text
pub mod schedule; // the faults of a run, and their reduction to a short list
pub mod coverage; // table of faults and the states that they met
pub mod network; // datagrams between hosts: delay, loss, rate, cuts
pub mod dtls; // a handshake in the place of DTLS
pub mod pipes; // ordered connections between hosts, which can be cut
pub mod violation; // an invariant that does not hold
pub mod client; // a client: what a browser does on the wire
pub mod node; // a data plane
pub mod server; // a signaling server
pub mod store; // the store of the servers
pub mod world; // nodes, servers, people and faults, with the invariants
pub mod runs; // many seeds, on all processors
