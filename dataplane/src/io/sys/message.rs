//! One message to send.

use std::net::{IpAddr, SocketAddr};

use crate::io::frame::Frame;

/// One message to send.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Payload of the message.
    pub bytes: &'a [u8],
    /// Address of the receiver.
    pub destination: SocketAddr,
    /// The local address to send from; `None` lets the routing table choose.
    pub source: Option<IpAddr>,
    /// Bytes of each of its datagrams but the last, which may be shorter; `None`: it is one datagram.
    pub segment_bytes: Option<u16>,
    /// Headers for a packet socket; `None`: through a UDP socket.
    pub frame: Option<Frame>,
}
