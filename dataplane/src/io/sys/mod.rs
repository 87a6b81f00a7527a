//! System calls that the standard library lacks, each behind a safe function.
//!
//! This folder may contain `unsafe`: one operation per block, with the conditions it relies on.

#![allow(unsafe_code)]

mod addr; // SocketAddr <-> sockaddr_storage
mod cmsg; // ancillary data: local address, dropped datagrams, segment size
mod headers; // message headers for sends
mod message; // one message to send
mod packet; // packet socket for frames
mod prefetch; // prefetches memory
mod recvmmsg; // receives many datagrams with one call
mod sendmmsg; // sends many datagrams with one call
mod sockopt; // socket options that socket2 lacks
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
