//! Messages between threads of the data plane: the rings that carry them, and their types.

pub mod mailbox; // rings with an eventfd
pub mod message; // message types
