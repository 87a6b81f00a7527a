//! The packet socket for Ethernet frames.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use super::sockopt;

/// A packet socket that sends frames with an offload header (packet(7), PACKET_VNET_HDR) and receives nothing.
/// Needs the capability CAP_NET_RAW.
pub fn packet_socket(buffer_bytes: usize) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    sockopt::enable_offload_header(socket.as_fd())?;
    Ok(socket.into())
}
