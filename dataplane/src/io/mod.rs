//! Everything that touches the kernel: sockets, the clock, the random source.

pub mod clock; // the only clock
pub mod entropy; // the only random source
pub mod egress; // which datagrams leave as whole frames
pub mod engine; // how datagrams cross the kernel's boundary
pub mod frame; // the headers of such a frame
pub mod route; // to which neighbour, of which interface, a destination is sent
pub mod sys; // system calls
pub mod udp; // the sockets of media and of TURN
pub mod relay_sockets; // the sockets of relayed addresses
pub mod rlimit; // what the kernel lets the process have
pub mod timers; // deadlines of things with an index
pub mod wait; // how a shard waits
