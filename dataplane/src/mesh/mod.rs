//! How threads of the data plane talk: bounded rings, and the messages in them.

pub mod mailbox; // rings with an eventfd
pub mod message; // message types
