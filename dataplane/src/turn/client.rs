//! A TURN client: identified by its addresses and transport.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Id of a client's connection, assigned by the owner of the server; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// Transport between a client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Transport {
    /// UDP: each message is one datagram.
    Udp,
    /// TCP: a stream of messages.
    Tcp,
    /// TLS: an encrypted stream of messages.
    Tls,
}

/// The five-tuple of a client (RFC 8656 section 2). It can have one allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Transport between client and server.
    pub transport: Transport,
    /// Address of the client as the server sees it.
    pub remote: SocketAddr,
    /// Our address that the client uses.
    pub local: SocketAddr,
    /// Connection of the client; `None` for UDP.
    pub stream: Option<StreamId>,
}

impl Transport {
    /// Number of client transports.
    pub const COUNT: usize = 3;

    /// All transports, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [Self::Udp, Self::Tcp, Self::Tls];

    /// Name of the transport.
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Index into per-transport arrays.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Client {
    /// A client over UDP.
    pub fn udp(remote: SocketAddr, local: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            remote: plain(remote),
            local: plain(local),
            stream: None,
        }
    }

    /// A client over TCP or TLS.
    pub fn stream(
        transport: Transport,
        stream: StreamId,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        Self {
            transport,
            stream: Some(stream),
            ..Self::udp(remote, local)
        }
    }

    /// Network of the client for quotas: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.
    pub fn source(&self) -> u128 {
        match self.remote.ip() {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip) & !u128::from(u64::MAX),
        }
    }
}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(number(self.remote.ip()));
        state.write_u128(number(self.local.ip()));
        let ports = u64::from(self.remote.port()) << 16 | u64::from(self.local.port());
        state.write_u64(ports << 2 | self.transport as u64);
        state.write_u64(self.stream.map_or(0, |stream| stream.0));
    }
}

/// `address` without IPv4-mapped IPv6, scope and flow label, so that one client always has one address.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Input for hashing an address. Collisions are resolved by `Eq`.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}
