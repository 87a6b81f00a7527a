//! Messages between threads of the data plane: bounded rings, and the message types.

pub mod mailbox; // rings with an eventfd
pub mod message; // message types
