//! Which datagrams leave as whole frames, through a packet socket, and not through the kernel's UDP and IP.
//!
//! What they skip costs more than everything else that the kernel does for a datagram. They skip the host's
//! firewall for what it sends with it, so the operator has to ask for it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use super::frame::{Frame, header_bytes};
#[cfg(test)]
use super::route::Routes;
use super::route::{RouteWatch, Watched};
use super::sys::{self, Message};

/// How datagrams leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// Through the kernel's UDP and IP.
    Stack,
    /// As whole frames, where the way to their destination is plain.
    Packet,
}

/// The packet socket of one shard, and what it needs to know.
pub struct Egress {
    socket: OwnedFd,
    watched: Watched,
    /// The port of each socket, by its place.
    ports: Vec<u16>,
    identification: u16,
    /// The kernel joins datagrams of packet sockets (Linux 6.2).
    joins: bool,
    /// Interfaces that took none, since the routes last changed.
    failed: HashSet<u32>,
    /// Of the messages tried last: the interface that each left through as a frame.
    tried: Vec<Option<u32>>,
}

/// Why there is no packet socket.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Not for this process.
    #[error(
        "egress packet needs the capability CAP_NET_RAW: run as root, or say setcap cap_net_raw,cap_net_admin+ep on the program"
    )]
    Forbidden,
    /// Not on this kernel.
    #[error("egress packet is refused: {0}")]
    Refused(io::Error),
    /// Routes cannot be read.
    #[error("cannot read the host's routes: {0}")]
    Routes(io::Error),
}

/// What a shard needs to make its [`Egress`].
#[derive(Debug, Clone)]
pub struct EgressStart {
    watch: Arc<RouteWatch>,
    buffer_bytes: usize,
}

impl EgressStart {
    /// Watches the host's routes. Fails where a packet socket cannot be had.
    pub fn new(buffer_bytes: usize) -> Result<Self, EgressError> {
        sys::packet_socket(buffer_bytes).map_err(refused)?;
        let watch = RouteWatch::start().map_err(EgressError::Routes)?;
        Ok(Self {
            watch,
            buffer_bytes,
        })
    }

    /// With these routes; `None` where a packet socket cannot be had.
    #[cfg(test)]
    pub fn fixed(routes: Routes) -> Option<Self> {
        let buffer_bytes = 1 << 20;
        sys::packet_socket(buffer_bytes).ok()?;
        Some(Self {
            watch: RouteWatch::fixed(routes),
            buffer_bytes,
        })
    }

    /// That of a shard whose sockets have `ports`.
    pub fn egress(&self, ports: Vec<u16>) -> Result<Egress, EgressError> {
        Ok(Egress {
            socket: sys::packet_socket(self.buffer_bytes).map_err(refused)?,
            watched: self.watch.watched(),
            ports,
            identification: fastrand::u16(..),
            joins: true,
            failed: HashSet::new(),
            tried: Vec::new(),
        })
    }
}

impl Egress {
    /// Before a batch: whatever has changed is known from here on.
    pub fn begin(&mut self) {
        self.tried.clear();
        if self.watched.refresh() {
            self.failed.clear();
        }
    }

    /// How `message` of the socket at `place` leaves as a frame, if it does.
    pub fn frame(&mut self, place: usize, message: &Message<'_>) -> Option<Frame> {
        let frame = self.find(place, message);
        self.tried.push(frame.map(|frame| frame.hop.interface));
        frame
    }

    fn find(&mut self, place: usize, message: &Message<'_>) -> Option<Frame> {
        let (to, source) = (message.destination, message.source?);
        let hop = self.watched.routes().hop(to.ip())?;
        let datagram = message
            .segment_bytes
            .map_or(message.bytes.len(), usize::from);
        let packet = header_bytes(to.is_ipv6()) + datagram;
        let is_joined = message.segment_bytes.is_some();
        if source.is_ipv4() != to.is_ipv4()
            || packet > hop.mtu as usize
            || (is_joined && !self.joins)
            || self.failed.contains(&hop.interface)
        {
            return None;
        }
        let datagrams = message.bytes.len().div_ceil(datagram.max(1)) as u16;
        let identification = self.identification;
        self.identification = identification.wrapping_add(datagrams.max(1));
        Some(Frame {
            hop: *hop,
            from: SocketAddr::new(source, self.ports[place]),
            identification,
        })
    }

    /// True when message `index` of those tried last left as a frame.
    pub fn is_framed(&self, index: usize) -> bool {
        self.tried.get(index).is_some_and(Option::is_some)
    }

    /// What the failure of message `index`, which was joined or not, means for it: with
    /// [`Interrupted`](io::ErrorKind::Interrupted) it goes through the stack the next time.
    pub fn failed(&mut self, index: usize, is_joined: bool, error: &io::Error) {
        let Some(interface) = self.tried.get(index).copied().flatten() else {
            return;
        };
        if is_passing(error) {
            return;
        }
        tracing::debug!(%error, interface, is_joined, "frames are refused");
        if is_joined {
            self.joins = false;
        } else {
            self.failed.insert(interface);
        }
    }

    /// The error of a framed message as its sender shall see it.
    pub fn translate(error: io::Error) -> io::Error {
        match error.raw_os_error() {
            // The queue of the device dropped it, or a filter did: it has no claim on another try.
            Some(libc::ENOBUFS) => io::Error::other("the device's queue takes no frame"),
            _ if is_passing(&error) => error,
            _ => io::ErrorKind::Interrupted.into(),
        }
    }
}

/// Says nothing about frames.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

impl AsFd for Egress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl FromStr for EgressKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stack" => Ok(Self::Stack),
            "packet" => Ok(Self::Packet),
            _ => Err("is neither stack nor packet".into()),
        }
    }
}

fn refused(error: io::Error) -> EgressError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => EgressError::Forbidden,
        _ => EgressError::Refused(error),
    }
}
