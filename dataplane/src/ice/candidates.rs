//! Maps the local address of a datagram to an advertised address.
//!
//! Behind a 1:1 NAT the kernel sees another local address than the client used. The session layer knows only the
//! advertised addresses.

use std::net::{IpAddr, SocketAddr};

/// The advertised addresses of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<SocketAddr>);

impl Candidates {
    /// A node that is reached at `ips`, which must not be empty, all with `port`.
    pub fn new(ips: &[IpAddr], port: u16) -> Self {
        assert!(
            !ips.is_empty(),
            "the configuration makes sure that something is advertised"
        );
        Self(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    /// All candidate addresses, in order of preference.
    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.0
    }

    /// The advertised address that `source` sent to, given `local`, the local address that the kernel reports.
    pub fn for_datagram(&self, source: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
        let used = self
            .0
            .iter()
            .find(|candidate| Some(candidate.ip()) == local);
        let family = || {
            self.0
                .iter()
                .find(|candidate| candidate.is_ipv4() == source.is_ipv4())
        };
        *used.or_else(family).unwrap_or(&self.0[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_used_or_the_one_in_front_of_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let candidates =
            Candidates::new(&[ip("203.0.113.5"), ip("127.0.0.1"), ip("2001:db8::1")], 7);
        let v4 = "198.51.100.1:9".parse().unwrap();
        let v6 = "[2001:db8::2]:9".parse().unwrap();
        for (source, local, expected) in [
            (v4, Some("127.0.0.1"), "127.0.0.1:7"),
            (v4, Some("10.0.0.5"), "203.0.113.5:7"), // behind NAT
            (v4, None, "203.0.113.5:7"),
            (v6, Some("2001:db8::1"), "[2001:db8::1]:7"),
            (v6, None, "[2001:db8::1]:7"),
        ] {
            let got = candidates.for_datagram(source, local.map(ip));
            assert_eq!(got, expected.parse().unwrap(), "{source} {local:?}");
        }
    }
}
