//! The system calls the standard library does not have, each behind a safe function.
//!
//! The only folder where `unsafe` is allowed: one operation a block, with the conditions it relies on.

#![allow(unsafe_code)]

mod addr; // SocketAddr <-> sockaddr_storage
mod cmsg; // ancillary data: packet info, receive queue overflow
mod headers; // message headers for sends
mod message; // one message to send
mod packet; // packet socket for frames
mod prefetch; // a hint that memory is needed soon
mod recvmmsg; // many datagrams in, one call
mod sendmmsg; // many datagrams out, one call
mod sockopt; // the socket options socket2 lacks
mod uring; // receive and send by io_uring

pub use message::Message;
pub use packet::packet_socket;
pub use prefetch::prefetch;
pub use recvmmsg::{ReceiveBatch, Received};
pub use sendmmsg::{SendBatch, refuses_runs};
pub use sockopt::{
    enable_packet_info, enable_queue_overflow_count, enable_receive_offload, steer_by_cpu,
};
pub use uring::{Uring, UringError, UringSizes};
