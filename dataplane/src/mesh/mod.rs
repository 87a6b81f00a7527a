//! How threads of the data plane talk: bounded rings, and the messages in them.

pub mod mailbox; // rings with a doorbell
pub mod message; // what threads say to each other
