//! Watches the addresses of this host on its own thread: addresses of interfaces, and prefixes of the local table that
//! belong to no interface.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::RouteMessage;

use super::facts::local_prefixes;
use super::netlink::Netlink;
use crate::limits::MAX_OWN_ROUTES;

/// rtnetlink(7): RTNLGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE.
const GROUPS: [u32; 4] = [5, 7, 9, 11];
/// Minimum pause between two readings when addresses change all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause after an error, or if the kernel has so many routes that reading takes long.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// An address and the length of its prefix, in bits.
pub type OwnPrefix = (IpAddr, u8);

/// The newest addresses of the host, shared by all readers.
#[derive(Debug, Default)]
pub struct OwnWatch {
    generation: AtomicU64,
    prefixes: Mutex<Arc<[OwnPrefix]>>,
}

/// A reader's view of the host's addresses, with the version that it has seen.
#[derive(Debug, Clone)]
pub struct OwnWatched {
    watch: Arc<OwnWatch>,
    seen: u64,
}

/// Reads the addresses on its thread.
struct Watcher {
    changes: Netlink,
    netlink: Netlink,
    last: BTreeSet<OwnPrefix>,
    /// True if there are too many routes to read; then only addresses of interfaces are known.
    has_many_routes: bool,
    watch: Weak<OwnWatch>,
}

impl OwnWatch {
    /// Reads the addresses, and starts the thread that watches them.
    pub fn start() -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let mut onlooker = Watcher {
            changes: Netlink::open(&GROUPS)?,
            netlink: Netlink::open(&[])?,
            last: BTreeSet::new(),
            has_many_routes: false,
            watch: Arc::downgrade(&watch),
        };
        onlooker.update()?;
        std::thread::Builder::new()
            .name("addresses".into())
            .spawn(move || onlooker.run())?;
        Ok(watch)
    }

    /// A reader that has seen no version yet.
    pub fn watched(self: &Arc<Self>) -> OwnWatched {
        OwnWatched {
            watch: Arc::clone(self),
            seen: 0,
        }
    }
}

impl OwnWatched {
    /// The newest addresses, if they changed since the last call.
    pub fn refresh(&mut self) -> Option<Arc<[OwnPrefix]>> {
        let now = self.watch.generation.load(Ordering::Acquire);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        let slot = self.watch.prefixes.lock();
        Some(Arc::clone(&slot.unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Watcher {
    /// Runs while there is a reader. After an error the last addresses stay valid until newer ones are read.
    fn run(mut self) {
        while self.watch.strong_count() > 0 {
            if let Err(error) = self.follow() {
                tracing::warn!(%error, "cannot read the host's addresses: turn-peers public uses the last known ones");
                self.reopen_until_read();
            }
        }
    }

    /// Reads after the first change; further changes during the pause are read together.
    fn follow(&mut self) -> io::Result<()> {
        self.changes.wait_for_change()?;
        self.update()?;
        std::thread::sleep(if self.has_many_routes {
            LONG_PAUSE
        } else {
            PAUSE
        });
        self.changes.take_changes()?;
        self.update()
    }

    /// Retries until the addresses can be read again.
    fn reopen_until_read(&mut self) {
        while self.watch.strong_count() > 0 {
            std::thread::sleep(LONG_PAUSE);
            match self.reopen().and_then(|()| self.update()) {
                Ok(()) => return tracing::info!("the host's addresses can be read again"),
                Err(error) => tracing::debug!(%error, "addresses"),
            }
        }
    }

    /// After an error the socket may contain old answers, so it is opened again.
    fn reopen(&mut self) -> io::Result<()> {
        self.changes = Netlink::open(&GROUPS)?;
        self.netlink = Netlink::open(&[])?;
        Ok(())
    }

    fn update(&mut self) -> io::Result<()> {
        let prefixes = self.read()?;
        if prefixes == self.last {
            return Ok(());
        }
        if let Some(watch) = self.watch.upgrade() {
            let mut slot = watch
                .prefixes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *slot = prefixes.iter().copied().collect();
            watch.generation.fetch_add(1, Ordering::Release);
        }
        self.last = prefixes;
        Ok(())
    }

    fn read(&mut self) -> io::Result<BTreeSet<OwnPrefix>> {
        let mut prefixes = BTreeSet::new();
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in self.netlink.dump(&addresses, usize::MAX)? {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                prefixes.extend(addresses_of(&address).map(|ip| (ip, host_bits(ip))));
            }
        }
        let routes = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let routes = self.netlink.dump(&routes, MAX_OWN_ROUTES)?;
        self.has_many_routes = routes.len() > MAX_OWN_ROUTES;
        prefixes.extend(local_prefixes(&routes));
        Ok(prefixes)
    }
}

/// Our addresses: on an interface with a peer, Local is ours and Address is the peer's.
fn addresses_of(message: &AddressMessage) -> impl Iterator<Item = IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = find(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    local.or(address).into_iter()
}

fn host_bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_hosts_addresses_are_known_from_the_start() {
        let watch = OwnWatch::start().unwrap();
        let mut watched = watch.watched();
        let prefixes = watched.refresh().unwrap();
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert!(prefixes.contains(&(loopback, 32)), "{prefixes:?}");
        let range = IpAddr::from([127, 0, 0, 0]);
        assert!(prefixes.contains(&(range, 8)), "{prefixes:?}");
        assert!(watched.refresh().is_none(), "nothing is new");
    }

    /// Runs in its own network namespace, if permitted.
    #[test]
    fn an_address_that_appears_later_is_known_soon_and_one_that_goes_is_forgotten() {
        let in_namespace = std::thread::spawn(|| {
            if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
                return eprintln!("no network namespace may be made: skipped");
            }
            let ip = |arguments: &str| {
                let mut ip = std::process::Command::new("ip");
                let done = ip.args(arguments.split(' ')).status().unwrap();
                assert!(done.success(), "ip {arguments}");
            };
            ip("link set lo up");
            let mut watched = OwnWatch::start().unwrap().watched();
            let mut latest = watched.refresh().unwrap();
            for (change, address, there) in [
                ("addr add 192.0.2.77/32 dev lo", "192.0.2.77/32", true),
                ("addr add 2001:db8::77/128 dev lo", "2001:db8::77/128", true),
                ("addr del 192.0.2.77/32 dev lo", "192.0.2.77/32", false),
                (
                    "route add local 198.51.100.0/24 dev lo",
                    "198.51.100.0/24",
                    true,
                ),
            ] {
                let (address, bits) = address.split_once('/').unwrap();
                let prefix: OwnPrefix = (address.parse().unwrap(), bits.parse().unwrap());
                ip(change);
                let give_up = std::time::Instant::now() + Duration::from_secs(5);
                while latest.contains(&prefix) != there {
                    assert!(std::time::Instant::now() < give_up, "{change}: {latest:?}");
                    std::thread::sleep(Duration::from_millis(5));
                    latest = watched.refresh().unwrap_or(latest);
                }
            }
        });
        in_namespace.join().unwrap();
    }
}
