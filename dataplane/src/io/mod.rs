//! Everything that touches the kernel: sockets, the clock, the random source.

pub mod clock; // the only clock
pub mod entropy; // the only random source
pub mod engine; // how datagrams cross the kernel's boundary
pub mod sys; // system calls
pub mod udp; // the sockets of media and of TURN
pub mod reach; // the sockets of relayed addresses
pub mod wait; // how a shard waits
