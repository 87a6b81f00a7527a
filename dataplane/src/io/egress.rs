//! Sends datagrams as Ethernet frames through a packet socket, instead of the kernel's UDP and IP.
//!
//! The kernel's UDP and IP cost more than all other kernel work for a datagram. Frames bypass the host's firewall, so
//! the operator must enable them.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use super::entropy::Entropy;
use super::frame::{Frame, header_bytes};
#[cfg(test)]
use super::route::Routes;
use super::route::{RouteWatch, Watched};
use super::sys::{self, Message};

/// Minimum MTU of every IPv6 path (RFC 8200 section 5).
const MIN_IPV6_MTU: usize = 1_280;

/// How datagrams are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// Through the kernel's UDP and IP.
    Stack,
    /// As Ethernet frames, if the route to the destination is simple.
    Packet,
}

/// The packet socket of one shard, with its routes.
pub struct Egress {
    socket: OwnedFd,
    watched: Watched,
    /// Port of each socket, by index in [`ShardSockets`](super::udp::ShardSockets).
    ports: Vec<u16>,
    identification: u16,
    /// True until the kernel refuses joined datagrams in frames (needs Linux 6.2). Set again when routes change.
    joins: bool,
    /// Interfaces that refused frames since the last change of routes.
    failed: HashSet<u32>,
    /// For each of the last messages, the interface if it was sent as a frame.
    tried: Vec<Option<u32>>,
}

/// Reason why frames cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The process has no CAP_NET_RAW.
    #[error(
        "egress packet needs the capability CAP_NET_RAW, and CAP_NET_ADMIN to keep routers fresh; this process lacks the \
         former: setcap cap_net_raw,cap_net_admin+ep {}, AmbientCapabilities= in its unit, or --cap-add of its container",
        program()
    )]
    Forbidden,
    /// The kernel refused the packet socket.
    #[error("egress packet is refused: {0}")]
    Refused(io::Error),
    /// The routes of the host cannot be read.
    #[error("cannot read the host's routes: {0}")]
    Routes(io::Error),
}

/// Parts from which each shard makes its [`Egress`].
#[derive(Debug, Clone)]
pub struct EgressStart {
    watch: Arc<RouteWatch>,
    buffer_bytes: usize,
}

impl EgressStart {
    /// Starts watching the host's routes. Fails if a packet socket is not available.
    pub fn new(buffer_bytes: usize) -> Result<Self, EgressError> {
        sys::packet_socket(buffer_bytes).map_err(refused)?;
        let watch = RouteWatch::start().map_err(EgressError::Routes)?;
        Ok(Self {
            watch,
            buffer_bytes,
        })
    }

    /// An egress with fixed routes; `None` if a packet socket is not available.
    #[cfg(test)]
    pub fn fixed(routes: Routes) -> Option<Self> {
        let buffer_bytes = 1 << 20;
        sys::packet_socket(buffer_bytes).ok()?;
        Some(Self {
            watch: RouteWatch::fixed(routes),
            buffer_bytes,
        })
    }

    /// The egress of a shard whose sockets have these `ports`.
    pub fn egress(&self, ports: Vec<u16>) -> Result<Egress, EgressError> {
        Ok(Egress {
            socket: sys::packet_socket(self.buffer_bytes).map_err(refused)?,
            watched: self.watch.watched(),
            ports,
            identification: u16::from_ne_bytes(Entropy::System.bytes()),
            joins: true,
            failed: HashSet::new(),
            tried: Vec::new(),
        })
    }
}

impl Egress {
    /// Takes the newest routes. Must be called before a batch.
    pub fn begin(&mut self) {
        self.tried.clear();
        if self.watched.refresh() {
            self.failed.clear();
            self.joins = true;
        }
    }

    /// The frame for `message` of the socket at index `place`; `None` if the kernel's stack must send it.
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
        // If the path may have a smaller MTU than the link, the stack must send, because it knows the path MTU, or
        // fragments the datagram.
        let most = if to.is_ipv6() {
            MIN_IPV6_MTU
        } else {
            hop.mtu as usize
        };
        let is_joined = message.segment_bytes.is_some();
        if source.is_ipv4() != to.is_ipv4()
            || packet > most.min(hop.mtu as usize)
            || !self.watched.routes().is_own(source)
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

    /// True when message `index` of the last batch was sent as a frame.
    pub fn is_framed(&self, index: usize) -> bool {
        self.tried.get(index).is_some_and(Option::is_some)
    }

    /// Handles the failure of message `index`, which was joined or not. If [`translate`](Self::translate) makes it
    /// [`Interrupted`](io::ErrorKind::Interrupted), the next attempt uses the kernel's stack.
    pub fn failed(&mut self, index: usize, is_joined: bool, error: &io::Error) {
        let Some(interface) = self.tried.get(index).copied().flatten() else {
            return;
        };
        if is_passing(error) {
            return;
        }
        tracing::debug!(%error, interface, is_joined, "frames are refused");
        if is_joined && error.raw_os_error() == Some(libc::EINVAL) {
            self.joins = false;
        } else {
            self.failed.insert(interface);
        }
    }

    /// The error of a frame as the caller must see it.
    pub fn translate(error: io::Error) -> io::Error {
        match error.raw_os_error() {
            // The queue of the device or a filter dropped the frame; it is not sent again.
            Some(libc::ENOBUFS) => io::Error::other("the device's queue takes no frame"),
            _ if is_passing(&error) => error,
            _ => io::ErrorKind::Interrupted.into(),
        }
    }
}

/// True for errors that are not caused by frames.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

impl AsFd for Egress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Display for EgressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stack => "stack",
            Self::Packet => "packet",
        })
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

/// Name of this program, for error texts.
fn program() -> String {
    let program = std::env::current_exe();
    program.map_or_else(|_| "PROGRAM".into(), |path| path.display().to_string())
}

fn refused(error: io::Error) -> EgressError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => EgressError::Forbidden,
        _ => EgressError::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::route::{Facts, Link, Local, Neighbour, Reachability, Route, RouteTarget};
    use super::*;

    /// Routes to everything through one router, with an MTU of 1,500 bytes.
    fn routes(router: u8) -> Routes {
        let all = |to: &str, via: &str| Route {
            to: to.parse().unwrap(),
            length: 0,
            target: RouteTarget::Link {
                interface: 7,
                router: Some(via.parse().unwrap()),
                mtu: u32::MAX,
            },
        };
        let neighbour = |ip: &str| Neighbour {
            interface: 7,
            ip: ip.parse().unwrap(),
            mac: [router; 6],
            reach: Reachability::Fresh,
            is_router: true,
        };
        let own = |ip: &str, length| Local {
            to: ip.parse().unwrap(),
            length,
            is_own: true,
        };
        Routes::new(&Facts {
            links: vec![Link {
                index: 7,
                mac: [9; 6],
                mtu: 1_500,
            }],
            local: vec![own("192.0.2.9", 32), own("2001:db8::9", 128)],
            routes: vec![all("0.0.0.0", "192.0.2.1"), all("::", "fe80::1")],
            neighbours: vec![neighbour("192.0.2.1"), neighbour("fe80::1")],
            left_out: None,
        })
    }

    fn message<'a>(bytes: &'a [u8], to: &str, source: &str) -> Message<'a> {
        Message {
            bytes,
            destination: SocketAddr::new(to.parse().unwrap(), 5_004),
            source: Some(source.parse::<IpAddr>().unwrap()),
            segment_bytes: None,
            frame: None,
        }
    }

    /// `None` where this process may not open a packet socket.
    fn egress() -> Option<(EgressStart, Egress)> {
        let start = EgressStart::fixed(routes(1));
        if start.is_none() {
            eprintln!("skipped: packet sockets need CAP_NET_RAW");
        }
        let start = start?;
        let egress = start.egress(vec![7_882]).unwrap();
        Some((start, egress))
    }

    #[test]
    fn frames_are_what_the_way_takes_from_an_address_of_the_host() {
        let Some((_, mut egress)) = egress() else {
            return;
        };
        let bytes = [0; 1_500];
        let mut is_frame = |length: usize, to: &str, source: &str| {
            egress.begin();
            egress
                .frame(0, &message(&bytes[..length], to, source))
                .is_some()
        };
        assert!(is_frame(1_472, "198.51.100.1", "192.0.2.9"));
        assert!(
            !is_frame(1_473, "198.51.100.1", "192.0.2.9"),
            "too long for the link"
        );
        assert!(is_frame(1_232, "2001:db8:1::1", "2001:db8::9"));
        assert!(
            !is_frame(1_233, "2001:db8:1::1", "2001:db8::9"),
            "the path may take less"
        );
        assert!(
            !is_frame(100, "198.51.100.1", "192.0.2.10"),
            "the address moved away"
        );
        assert!(
            !is_frame(100, "198.51.100.1", "2001:db8::9"),
            "families differ"
        );
        assert!(!is_frame(100, "192.0.2.9", "192.0.2.9"), "to ourselves");
    }

    #[test]
    fn what_was_refused_is_tried_again_when_routes_change() {
        let Some((start, mut egress)) = egress() else {
            return;
        };
        let run = Message {
            segment_bytes: Some(50),
            ..message(&[0; 100], "198.51.100.1", "192.0.2.9")
        };
        let single = message(&[0; 100], "198.51.100.1", "192.0.2.9");
        let tries = |egress: &mut Egress| {
            egress.begin();
            [&run, &single]
                .map(|message| egress.frame(0, message).map(|frame| frame.hop.ethernet[0]))
        };
        assert_eq!(tries(&mut egress), [Some(1), Some(1)]);
        let error = |errno| io::Error::from_raw_os_error(errno);
        egress.failed(0, true, &error(libc::EAGAIN));
        egress.failed(1, false, &error(libc::ENOBUFS));
        assert_eq!(tries(&mut egress), [Some(1), Some(1)], "these pass");
        egress.failed(0, true, &error(libc::EINVAL));
        assert_eq!(tries(&mut egress), [None, Some(1)], "runs alone");
        egress.failed(1, false, &error(libc::ENETDOWN));
        assert_eq!(tries(&mut egress), [None, None]);
        start.watch.publish(routes(2));
        assert_eq!(tries(&mut egress), [Some(2), Some(2)]);
        egress.failed(0, true, &error(libc::ENETDOWN));
        assert_eq!(tries(&mut egress), [None, None], "not the run's fault");
    }

    #[test]
    fn errors_of_frames_are_translated_for_the_sender() {
        let kind = |errno| Egress::translate(io::Error::from_raw_os_error(errno)).kind();
        assert_eq!(kind(libc::EAGAIN), io::ErrorKind::WouldBlock);
        assert_eq!(
            kind(libc::ENXIO),
            io::ErrorKind::Interrupted,
            "to be tried by the stack"
        );
        assert_eq!(
            kind(libc::ENOBUFS),
            io::ErrorKind::Other,
            "gone, after one more try"
        );
    }
}
