//! Datagrams and their directions.

use std::net::{IpAddr, SocketAddr};

/// A datagram between two sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Address of the sender.
    pub from: SocketAddr,
    /// Address of the receiver.
    pub to: SocketAddr,
    /// Payload of the datagram.
    pub bytes: Vec<u8>,
}

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Direction {
    /// Host that sends the datagram.
    pub from: IpAddr,
    /// Host that receives the datagram.
    pub to: IpAddr,
}

impl Datagram {
    /// Hosts of the datagram.
    pub fn direction(&self) -> Direction {
        Direction {
            from: self.from.ip(),
            to: self.to.ip(),
        }
    }
}
