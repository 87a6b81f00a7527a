//! Counts connections per source. A source is an IPv4 address, or the /64 of an IPv6 address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::SourceLimit;

/// Number of open connections by source. Clones share the counts.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    limit: SourceLimit,
    count_by_source: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A counted connection. Dropping the value decreases the count of the source.
#[derive(Debug)]
pub(super) struct Counted {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    /// No connections yet; `limit` applies to each source.
    pub(super) fn new(limit: SourceLimit) -> Self {
        Self {
            limit,
            count_by_source: Arc::default(),
        }
    }

    /// Counts a connection from `peer` to `local`. `None` if its source has reached the limit.
    pub(super) fn enter(&self, peer: IpAddr, local: Option<IpAddr>) -> Option<Counted> {
        let limit = self.limit.of(peer, local);
        let source = network(peer.to_canonical());
        let mut counts = self.counts();
        let count = counts.entry(source).or_insert(0);
        if limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        Some(Counted {
            sources: self.clone(),
            source,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.count_by_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// The source of an address. A host that has a /64 can use every address in it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_connections_and_no_more() {
        let sources = Sources::new(SourceLimit::every(2));
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:1", "2001:db8:0:1::1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ] {
            let first = sources.enter(address(one), None).unwrap();
            let _second = sources.enter(address(same), None).unwrap();
            assert!(sources.enter(address(one), None).is_none(), "{one}");
            let _other = sources.enter(address(other), None).unwrap();
            drop(first);
            assert!(sources.enter(address(same), None).is_some(), "{same}");
        }
        assert!(sources.counts().is_empty(), "nothing is left behind");
    }

    #[test]
    fn by_default_this_host_is_not_limited() {
        let sources = Sources::new(SourceLimit::default());
        let enter = |text| sources.enter(address(text), Some(address("198.51.100.7")));
        let limit = crate::limits::CONNECTIONS_PER_SOURCE;
        let proxied: Vec<_> = (0..=limit).map(|_| enter("::1").unwrap()).collect();
        assert_eq!(proxied.len(), limit + 1);
        let strangers: Vec<_> = (0..limit).map(|_| enter("192.0.2.1").unwrap()).collect();
        assert!(enter("192.0.2.1").is_none());
        drop(strangers);
        // A connection of this host to its own address has that address as its source.
        let own = "::ffff:198.51.100.7";
        let passed_on: Vec<_> = (0..=limit).map(|_| enter(own).unwrap()).collect();
        assert_eq!(passed_on.len(), limit + 1);
        drop(passed_on);
        let none = Sources::new(SourceLimit::none());
        let all: Vec<_> = (0..=limit)
            .map(|_| none.enter(address("192.0.2.1"), None))
            .collect();
        assert!(all.iter().all(Option::is_some));
    }
}
