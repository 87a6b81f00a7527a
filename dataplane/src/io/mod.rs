//! The kernel: sockets, clocks, the random source, limits of the process.

pub mod clock; // the only place that reads clocks
pub mod entropy; // the only place that reads random bytes
pub mod egress; // datagrams sent as Ethernet frames
pub mod engine; // interface of the I/O engines
pub mod simulated; // the engine of the simulator, without a kernel
pub mod frame; // headers of an Ethernet frame
pub mod route; // next hops of destinations
pub mod sys; // system calls
pub mod udp; // UDP sockets for media and TURN
pub mod relay_sockets; // sockets of relayed addresses
pub mod rlimit; // limits of the process
pub mod timers; // deadlines by index
pub mod wait; // sleeps until a descriptor or a deadline is ready
