//! Raises the limit of open files for the connections, and uses enough source addresses for their ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors besides the participants' connections.
const OTHER_FILES: u64 = 256;
/// Number of connections per source address; by default the kernel has 28,232 ports for them.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// The limit of open files is too low for the connections.
#[derive(Debug, thiserror::Error)]
#[error(
    "{connections} connections take {wanted} open files, the hard limit (RLIMIT_NOFILE) is {limit}: \
     `ulimit -Hn {wanted}` as root, or `prlimit --nofile={wanted}:{wanted} --pid $$`, raises it"
)]
pub struct TooFewFiles {
    connections: usize,
    wanted: u64,
    limit: u64,
}

/// Raises the limit of open files of this process, if it is too low.
pub fn allow(connections: usize) -> Result<(), TooFewFiles> {
    let wanted = connections as u64 + OTHER_FILES;
    let held = getrlimit(Resource::Nofile);
    let unlimited = u64::MAX;
    if held.current.unwrap_or(unlimited) >= wanted {
        return Ok(());
    }
    let maximum = held.maximum.map(|limit| limit.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    // A privileged process may raise the hard limit too.
    setrlimit(Resource::Nofile, raised).map_err(|_| TooFewFiles {
        connections,
        wanted,
        limit: held.maximum.unwrap_or(unlimited),
    })
}

/// Source address of connection `index`: to a server on loopback one of many loopback addresses, each with its own
/// ports; to other servers the kernel's choice.
pub fn source(server: SocketAddr, index: usize) -> SocketAddr {
    if !server.ip().is_loopback() || server.is_ipv6() {
        let unspecified = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        return SocketAddr::new(unspecified, 0);
    }
    let number = index / CONNECTIONS_PER_ADDRESS;
    let [high, low] = [number / 254 % 256, number % 254 + 1]
        .map(|part| u8::try_from(part).expect("each is below 256"));
    SocketAddr::new(Ipv4Addr::new(127, 1, high, low).into(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_asked_for_more_ports_than_it_has() {
        let server = SocketAddr::from(([127, 0, 0, 1], 7880));
        let mut by_source = std::collections::HashMap::new();
        for index in 0..60_000 {
            *by_source.entry(source(server, index)).or_insert(0) += 1;
        }
        assert_eq!(by_source.values().max(), Some(&CONNECTIONS_PER_ADDRESS));
        assert!(by_source.keys().all(|source| source.ip().is_loopback()));
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 7880));
        assert!(source(elsewhere, 0).ip().is_unspecified());
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let error = allow(1 << 40).unwrap_err().to_string();
        assert!(
            error.contains("RLIMIT_NOFILE") && error.contains("ulimit"),
            "{error}"
        );
    }
}
