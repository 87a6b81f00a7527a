//! UDP sockets: one per shard and address family, all on one port. One group of sockets carries media, another one
//! TURN.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

/// How the kernel chooses the shard of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    /// The kernel hashes the four-tuple.
    Hash,
    /// The core that received the datagram.
    Cpu,
}

/// Sockets of one shard in one group.
#[derive(Debug)]
pub struct Pair {
    /// Socket of the IPv4 address family.
    pub v4: Socket,
    /// Socket of the IPv6 address family; `None` on hosts without IPv6.
    pub v6: Option<Socket>,
}

/// The sockets of one shard.
#[derive(Debug)]
pub struct ShardSockets {
    /// Sockets of the media port.
    pub media: Pair,
    /// Sockets of the TURN port, if TURN is on.
    pub turn: Option<Pair>,
}

/// Purpose of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// The media port of sessions.
    Media,
    /// The port of TURN clients.
    Turn,
}

/// The address family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The IPv4 address family.
    V4,
    /// The IPv6 address family.
    V6,
}

/// Port kind and address family of each socket, in the order of [`ShardSockets::iter`].
#[derive(Debug, Clone, Default)]
pub struct SocketIndex(Vec<(PortKind, Family)>);

/// Common properties of all sockets of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupOptions<'a> {
    /// 0: a free port that the kernel chooses, the same for all shards.
    pub port: u16,
    /// Name of the setting of the port, for errors.
    pub setting: &'a str,
    /// How the kernel chooses the shard of a datagram.
    pub steering: Steering,
    /// Size of the receive buffer and of the send buffer, in bytes.
    pub buffer_bytes: usize,
}

/// A buffer that the kernel made smaller than requested.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "socket {direction} buffer is {got} bytes, {wanted} were asked for; raise it with: sysctl -w net.core.{sysctl}={wanted}"
)]
pub struct SmallBuffer {
    direction: &'static str,
    sysctl: &'static str,
    wanted: usize,
    got: usize,
}

/// Binds the sockets of `cores.len()` shards.
///
/// All sockets are bound before any traffic, because the hash depends on the size of the group. Returns the port, and a
/// warning for each kind of buffer that is too small.
pub fn bind_group(
    options: GroupOptions<'_>,
    cores: &[u32],
) -> io::Result<(u16, Vec<Pair>, Vec<SmallBuffer>)> {
    let GroupOptions {
        mut port,
        buffer_bytes,
        ..
    } = options;
    refuse_shared(port, options.setting)?;
    let mut shards = Vec::with_capacity(cores.len());
    for _ in cores {
        let v4 = bind(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            buffer_bytes,
        )?;
        let bound = v4
            .local_addr()?
            .as_socket()
            .expect("an IPv4 socket has an IP address");
        port = bound.port();
        let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let v6 = match bind(any, buffer_bytes) {
            Ok(socket) => Some(socket),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        shards.push(Pair { v4, v6 });
    }
    let first = &shards[0];
    if options.steering == Steering::Cpu {
        for socket in std::iter::once(&first.v4).chain(&first.v6) {
            sys::steer_by_cpu(socket.as_fd(), cores)?;
        }
    }
    let warnings = small_buffers(&first.v4, buffer_bytes)?;
    Ok((port, shards, warnings))
}

impl Pair {
    fn iter(&self) -> impl Iterator<Item = &Socket> {
        std::iter::once(&self.v4).chain(&self.v6)
    }
}

impl ShardSockets {
    /// All sockets, in the order of [`SocketIndex`].
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pairs = std::iter::once(&self.media).chain(&self.turn);
        pairs.flat_map(Pair::iter).map(AsFd::as_fd)
    }

    /// Ports of the sockets, in the same order.
    pub fn ports(&self) -> io::Result<Vec<u16>> {
        let pairs = std::iter::once(&self.media).chain(&self.turn);
        let port = |socket: &Socket| {
            let bound = socket.local_addr()?.as_socket();
            Ok(bound.expect("it is bound to an IP address").port())
        };
        pairs.flat_map(Pair::iter).map(port).collect()
    }

    /// Port kind and address family of each socket.
    pub fn socket_index(&self) -> SocketIndex {
        let media = std::iter::once((PortKind::Media, &self.media));
        let turn = self.turn.iter().map(|pair| (PortKind::Turn, pair));
        let families = |(port, pair): (PortKind, &Pair)| {
            let v6 = pair.v6.is_some().then_some((port, Family::V6));
            std::iter::once((port, Family::V4)).chain(v6)
        };
        SocketIndex(media.chain(turn).flat_map(families).collect())
    }
}

impl SocketIndex {
    /// Sockets that no [`ShardSockets`] has: those of the simulator.
    pub fn new(sockets: Vec<(PortKind, Family)>) -> Self {
        Self(sockets)
    }

    /// Kind of the port of the socket at index `place`.
    pub fn port_kind(&self, place: usize) -> PortKind {
        self.0.get(place).map_or(PortKind::Media, |(port, _)| *port)
    }

    /// Index of the socket of `port` for `family`, if there is one.
    pub fn of(&self, port: PortKind, family: Family) -> Option<usize> {
        self.0.iter().position(|place| *place == (port, family))
    }
}

/// Sockets of one shard on free ports, for tests: media port, TURN port, sockets.
#[cfg(test)]
pub fn for_tests(buffer_bytes: usize) -> (u16, u16, ShardSockets) {
    let bind = |setting| {
        let options = GroupOptions {
            port: 0,
            setting,
            steering: Steering::Hash,
            buffer_bytes,
        };
        let (port, mut pairs, _) = bind_group(options, &[0]).unwrap();
        (port, pairs.remove(0))
    };
    let ((media_port, media), (turn_port, turn)) = (bind("udp-port"), bind("turn-port"));
    let turn = Some(turn);
    (media_port, turn_port, ShardSockets { media, turn })
}

/// Fails if another process has `port`. SO_REUSEPORT would let us join the group of another data plane of the same
/// user, and each would receive half of the other's datagrams. Binding without SO_REUSEPORT detects this.
fn refuse_shared(port: u16, setting: &str) -> io::Result<()> {
    if port == 0 {
        return Ok(());
    }
    match std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!("another process has udp port {port}: choose another {setting}");
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Ok(_) | Err(_) => Ok(()), // the real bind reports other errors
    }
}

fn bind(addr: SocketAddr, buffer_bytes: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    sys::enable_packet_info(socket.as_fd(), addr.is_ipv6())?;
    sys::enable_queue_overflow_count(socket.as_fd())?;
    sys::enable_receive_offload(socket.as_fd())?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// The kernel limits buffer sizes without an error, and doubles them for its own bookkeeping (socket(7)).
fn small_buffers(socket: &Socket, wanted: usize) -> io::Result<Vec<SmallBuffer>> {
    let sizes = [
        ("receive", "rmem_max", socket.recv_buffer_size()? / 2),
        ("send", "wmem_max", socket.send_buffer_size()? / 2),
    ];
    let small = sizes.into_iter().filter(|(_, _, got)| *got < wanted);
    Ok(small
        .map(|(direction, sysctl, got)| SmallBuffer {
            direction,
            sysctl,
            wanted,
            got,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind_all(
        port: u16,
        cores: &[u32],
        buffer_bytes: usize,
    ) -> io::Result<(u16, Vec<Pair>, Vec<SmallBuffer>)> {
        let options = GroupOptions {
            port,
            setting: "udp-port",
            steering: Steering::Hash,
            buffer_bytes,
        };
        bind_group(options, cores)
    }

    #[test]
    fn sockets_are_found_by_what_they_are_for() {
        let pair = || bind_all(0, &[0], 65_536).unwrap().1.remove(0);
        let mut sockets = ShardSockets {
            media: pair(),
            turn: Some(pair()),
        };
        sockets.media.v6 = None; // as on a host without IPv6
        let socket_index = sockets.socket_index();
        assert_eq!(socket_index.of(PortKind::Media, Family::V4), Some(0));
        assert_eq!(socket_index.of(PortKind::Media, Family::V6), None);
        assert_eq!(socket_index.of(PortKind::Turn, Family::V4), Some(1));
        assert_eq!(
            [socket_index.port_kind(0), socket_index.port_kind(1)],
            [PortKind::Media, PortKind::Turn]
        );
        assert_eq!(sockets.iter().count(), socket_index.0.len());
    }

    #[test]
    fn all_shards_share_one_port_of_both_families() {
        let (port, shards, _) = bind_all(0, &[0, 1], 65_536).unwrap();
        assert_eq!(shards.len(), 2);
        for socket in shards.iter().flat_map(Pair::iter) {
            let addr = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(addr.port(), port);
        }
    }

    #[test]
    fn the_port_of_another_data_plane_is_refused() {
        let (port, _held, _) = bind_all(0, &[0], 65_536).unwrap();
        let error = bind_all(port, &[0], 65_536).unwrap_err();
        let expected = format!("another process has udp port {port}: choose another udp-port");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_buffer_the_kernel_clamps_is_reported_with_its_sysctl() {
        let (_, _, warnings) = bind_all(0, &[0], 1 << 30).unwrap();
        let text: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert!(
            text.iter()
                .any(|w| w.contains("net.core.rmem_max=1073741824")),
            "{text:?}"
        );
        assert!(
            text.iter().any(|w| w.contains("net.core.wmem_max")),
            "{text:?}"
        );
    }
}
