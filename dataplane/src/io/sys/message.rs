//! One message to send: a datagram, or several joined ones.

use std::net::{IpAddr, SocketAddr};

use crate::io::frame::Frame;

/// One message to send: a datagram, or several joined ones.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Payload of all datagrams, one after another.
    pub bytes: &'a [u8],
    /// Address of the receiver.
    pub destination: SocketAddr,
    /// The local address to send from; `None` lets the routing table choose.
    pub source: Option<IpAddr>,
    /// Bytes of each datagram but the last, which may be shorter; `None` for a single datagram.
    pub segment_bytes: Option<u16>,
    /// Next hop and addresses if the message is sent as an Ethernet frame; `None`: sent through a UDP socket.
    pub frame: Option<Frame>,
}
