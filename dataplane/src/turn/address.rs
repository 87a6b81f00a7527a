//! Decides which peers clients may reach.
//!
//! By default only media nodes are permitted, by exact address and port. A permission has an address without a port
//! (RFC 8656 section 9), so a permission is granted for the address of a node, and each packet is checked again.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use spillway_wire::turn::{Nat64Prefix, embedded};

use super::client::plain;
use super::deny::DenyReason;
use super::ranges::{Cidr, is_special};
use super::relayed::RelayAddresses;

/// Scope of the peers that clients may reach through the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// The media addresses of our nodes only.
    Cluster(Vec<SocketAddr>),
    /// Every address on the public internet.
    Public,
}

/// Addresses of this process.
#[derive(Debug, Clone, Default)]
pub struct Ourselves {
    /// Addresses of the TURN listeners. If one is unspecified, no peer may have its port, because our addresses are
    /// not known.
    pub listening: Vec<SocketAddr>,
    /// Addresses of peers inside the process, such as the media port.
    pub inside: Vec<SocketAddr>,
}

/// Addresses that the kernel has for this host, advertised or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    single: HashSet<IpAddr>,
    ranges: Vec<Cidr>,
}

/// Decides which peers clients may reach.
#[derive(Debug)]
pub(super) struct Policy {
    scope: Scope,
    denied: Vec<Cidr>,
    nat64: Vec<Nat64Prefix>,
    host: HostAddresses,
    ourselves: Ourselves,
    relay: RelayAddresses,
    generation: u32,
}

#[derive(Debug)]
enum Scope {
    Cluster {
        /// Media addresses of the cluster, sorted.
        endpoints: Vec<SocketAddr>,
        /// IP addresses of the cluster, sorted.
        ips: Vec<IpAddr>,
    },
    Public,
}

impl Policy {
    pub(super) fn new(
        peers: Peers,
        (denied, nat64): (Vec<Cidr>, Vec<Nat64Prefix>),
        ourselves: Ourselves,
        relay: RelayAddresses,
    ) -> Self {
        Self {
            scope: Scope::new(peers),
            denied,
            nat64,
            host: HostAddresses::default(),
            ourselves: Ourselves {
                listening: ourselves.listening.into_iter().map(plain).collect(),
                inside: ourselves.inside.into_iter().map(plain).collect(),
            },
            relay,
            generation: 0,
        }
    }

    pub(super) fn set_peers(&mut self, peers: Peers) {
        self.scope = Scope::new(peers);
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn set_host(&mut self, host: HostAddresses) {
        self.host = host;
        self.generation = self.generation.wrapping_add(1);
    }

    /// True when `peer` is a media node.
    pub(super) fn is_node(&self, peer: SocketAddr) -> bool {
        match self.scope {
            Scope::Cluster { .. } => true,
            Scope::Public => self.ourselves.inside.contains(&peer),
        }
    }

    /// Number that changes when earlier decisions may be invalid.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Checks whether a permission for `ip` is possible: at least one of its ports could be a peer.
    pub(super) fn check_ip(&self, ip: IpAddr) -> Result<(), DenyReason> {
        self.check_denied(ip)?;
        match &self.scope {
            Scope::Cluster { ips, .. } if ips.binary_search(&ip).is_ok() => Ok(()),
            Scope::Cluster { .. } => Err(DenyReason::PeerOutsideCluster),
            Scope::Public if self.is_inside(ip) => Ok(()),
            Scope::Public => self.check_public(ip),
        }
    }

    /// Checks whether `peer` may be reached.
    pub(super) fn check(&self, peer: SocketAddr) -> Result<(), DenyReason> {
        let ip = peer.ip();
        self.check_denied(ip)?;
        if peer.port() == 0 {
            return Err(DenyReason::PeerSpecial);
        }
        if self.is_relay(peer) || self.ourselves.listening.iter().any(|own| is_at(*own, peer)) {
            return Err(DenyReason::PeerOurselves);
        }
        match &self.scope {
            Scope::Cluster { endpoints, .. } if endpoints.binary_search(&peer).is_ok() => Ok(()),
            Scope::Cluster { .. } => Err(DenyReason::PeerOutsideCluster),
            // Only the media port of this host may be reached.
            Scope::Public if self.is_own(ip) => {
                let is_media = self.ourselves.inside.contains(&peer);
                is_media.then_some(()).ok_or(DenyReason::PeerOurselves)
            }
            Scope::Public => self.check_public(ip),
        }
    }

    /// True when datagrams to `ip` need no socket, because the peer is inside the process.
    pub(super) fn is_inside(&self, ip: IpAddr) -> bool {
        self.ourselves.inside.iter().any(|own| own.ip() == ip)
    }

    fn check_denied(&self, ip: IpAddr) -> Result<(), DenyReason> {
        let mut forms = self.forms(ip);
        let is_denied = forms.any(|form| self.denied.iter().any(|range| range.contains(form)));
        (!is_denied).then_some(()).ok_or(DenyReason::PeerDenied)
    }

    fn check_public(&self, ip: IpAddr) -> Result<(), DenyReason> {
        for form in self.forms(ip) {
            if self.is_own(form) {
                return Err(DenyReason::PeerOurselves);
            }
            if is_special(form) {
                return Err(DenyReason::PeerSpecial);
            }
        }
        Ok(())
    }

    /// Two allocations that relay to each other would make one packet loop forever.
    fn is_relay(&self, peer: SocketAddr) -> bool {
        self.relay.has_ip(peer.ip()) && self.relay.has_port(peer.port())
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.relay.has_ip(ip)
            || self.is_inside(ip)
            || self.ourselves.listening.iter().any(|own| own.ip() == ip)
            || self.host.contains(ip)
    }

    /// `ip`, and the IPv4 addresses that may be embedded in it.
    fn forms(&self, ip: IpAddr) -> impl Iterator<Item = IpAddr> {
        let of_network = self
            .nat64
            .iter()
            .filter_map(move |prefix| prefix.embedded(ip));
        let of_all = embedded(ip).into_iter().flatten();
        std::iter::once(ip).chain(of_all.chain(of_network).map(IpAddr::V4))
    }
}

impl HostAddresses {
    /// A set of prefixes: address and number of bits.
    pub fn new(prefixes: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let mut host = Self::default();
        for (ip, length) in prefixes {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            if length >= bits {
                host.single.insert(ip);
            } else {
                host.ranges.push(Cidr::new(ip, length));
            }
        }
        host
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.single.contains(&ip) || self.ranges.iter().any(|range| range.contains(ip))
    }
}

impl Scope {
    fn new(peers: Peers) -> Self {
        match peers {
            Peers::Public => Self::Public,
            Peers::Cluster(nodes) => {
                let mut endpoints: Vec<_> = nodes.into_iter().map(plain).collect();
                endpoints.sort_unstable();
                let mut ips: Vec<_> = endpoints.iter().map(SocketAddr::ip).collect();
                ips.sort_unstable();
                Self::Cluster { endpoints, ips }
            }
        }
    }
}

/// True when a listener at `own` receives datagrams to `peer`.
fn is_at(own: SocketAddr, peer: SocketAddr) -> bool {
    own.port() == peer.port() && (own.ip() == peer.ip() || own.ip().is_unspecified())
}
