//! Everything that touches the kernel: sockets, the clock, the random source.

pub mod clock; // the only clock
pub mod entropy; // the only random source
pub mod egress; // datagrams sent as Ethernet frames
pub mod engine; // interface of the two I/O engines
pub mod frame; // headers of an Ethernet frame
pub mod route; // next hops of destinations
pub mod sys; // system calls
pub mod udp; // the sockets of media and of TURN
pub mod relay_sockets; // the sockets of relayed addresses
pub mod rlimit; // limits of the process
pub mod timers; // deadlines by index
pub mod wait; // sleeps until a descriptor or a deadline is ready
