//! Listening sockets for streams: one per shard and port, so that the kernel distributes connections over shards.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Protocol of the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// TURN over TCP, without TLS.
    Turn,
    /// TURN over TLS, and HTTP that is passed to `http-upstream`.
    Tls,
    /// ICE over TCP (RFC 6544) for sessions.
    Ice,
}

/// A listening socket and its kind.
#[derive(Debug)]
pub struct Listener {
    /// Protocol of the connections.
    pub kind: ListenerKind,
    pub(super) socket: TcpListener,
}

/// Maximum number of connections that wait to be accepted, per listener.
const BACKLOG: i32 = 1_024;

/// Binds `port` for IPv4 and IPv6 and for each shard; with port 0 the kernel chooses a port for all. Returns the port,
/// and the listeners of each shard.
pub fn bind(
    kind: ListenerKind,
    setting: &str,
    port: u16,
    shards: usize,
) -> io::Result<(u16, Vec<Vec<Listener>>)> {
    refuse_shared(port, setting)?;
    let mut port = port;
    let mut all = Vec::with_capacity(shards);
    for _ in 0..shards {
        let v4 = listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
        port = v4.local_addr()?.port();
        let v6 = match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Ok(socket) => Some(socket),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        let sockets = std::iter::once(v4).chain(v6);
        all.push(sockets.map(|socket| Listener { kind, socket }).collect());
    }
    Ok((port, all))
}

/// Fails if another process has `port`. SO_REUSEPORT would let us join the group of another process of the same user,
/// and each would get half of the other's connections.
fn refuse_shared(port: u16, setting: &str) -> io::Result<()> {
    if port == 0 {
        return Ok(());
    }
    let alone = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT must not block the port.
    alone.set_reuse_address(true)?;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match alone.bind(&any.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!("another process has tcp port {port}: choose another {setting}");
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Ok(()) | Err(_) => Ok(()), // the real bind reports other errors
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
