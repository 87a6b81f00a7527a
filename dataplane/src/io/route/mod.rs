//! Next hops of destinations, for the simple part of the host's routing. A destination with complex routing has no
//! [`Hop`], and the kernel's stack sends to it.

mod facts; // links, rules, routes and neighbours of the kernel
mod neighbour; // entries of the kernel's neighbour table
mod netlink; // rtnetlink requests
mod watch; // thread that keeps routes current
mod own; // thread that keeps the host's addresses current

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::BitAnd;

pub use facts::{Facts, Link, Local, Route, RouteTarget};
pub use neighbour::{Neighbour, Reachability};
pub use own::{OwnPrefix, OwnWatch, OwnWatched};
pub use watch::{RouteWatch, Watched};

/// A neighbour: the next hop of frames, and its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Index of the interface.
    pub interface: u32,
    /// Ethernet header of frames to the neighbour.
    pub ethernet: [u8; 14],
    /// Maximum size of an IP packet, in bytes.
    pub mtu: u32,
}

/// Routes and neighbours at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The host's own addresses.
    own: HashSet<IpAddr>,
    v4: Table<u32>,
    v6: Table<u128>,
    /// Neighbours that the kernel has confirmed recently, by interface and address.
    neighbours: HashMap<(u32, IpAddr), Hop>,
}

/// Prefixes of one address family.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table<T> {
    /// Prefixes of the local table, which has priority over routes.
    local: Vec<Prefix<T>>,
    /// Routes, the longest prefix first.
    routes: Vec<Prefix<T>>,
}

/// Next hop of a range of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix<T> {
    bits: T,
    mask: T,
    length: u8,
    next_hop: NextHopKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextHopKind {
    /// The kernel's stack must send.
    Kernel,
    /// Through the router at this hop.
    Router(Hop),
    /// Directly: each destination is a neighbour on this interface.
    Link(u32),
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

impl Routes {
    /// Next hops according to `facts`, for destinations that frames can reach.
    pub fn new(facts: &Facts) -> Self {
        let mut routes = Self::default();
        let links: HashMap<u32, &Link> = facts.links.iter().map(|l| (l.index, l)).collect();
        let fresh = |neighbour: &&Neighbour| neighbour.reach == Reachability::Fresh;
        for neighbour in facts.neighbours.iter().filter(fresh) {
            if let Some(link) = links.get(&neighbour.interface) {
                let at = (neighbour.interface, neighbour.ip);
                routes.neighbours.insert(at, Hop::new(link, neighbour));
            }
        }
        for local in &facts.local {
            routes.add(local.to, local.length, None);
            let host = if local.to.is_ipv4() { 32 } else { 128 };
            if local.is_own && local.length == host {
                routes.own.insert(local.to);
            }
        }
        for route in &facts.routes {
            let link = |interface: u32| links.get(&interface).copied();
            let next_hop = routes.next_hop(route.target, link);
            routes.add(route.to, route.length, Some(next_hop));
        }
        routes.v4.sort_prefixes();
        routes.v6.sort_prefixes();
        routes
    }

    fn next_hop<'a>(
        &self,
        target: RouteTarget,
        link: impl Fn(u32) -> Option<&'a Link>,
    ) -> NextHopKind {
        let RouteTarget::Link {
            interface,
            router,
            mtu,
        } = target
        else {
            return NextHopKind::Kernel;
        };
        match router {
            Some(router) => match self.neighbours.get(&(interface, router)) {
                Some(hop) => NextHopKind::Router(Hop {
                    mtu: mtu.min(hop.mtu),
                    ..*hop
                }),
                None => NextHopKind::Kernel,
            },
            // Neighbours have one MTU per interface.
            None if link(interface).is_some_and(|link| mtu >= link.mtu) => {
                NextHopKind::Link(interface)
            }
            None => NextHopKind::Kernel,
        }
    }

    /// True if `source` is an address of the host. Frames with other source addresses are not sent.
    pub fn is_own(&self, source: IpAddr) -> bool {
        self.own.contains(&source)
    }

    /// Next hop of `to`; `None`: the kernel's stack must send.
    pub fn hop(&self, to: IpAddr) -> Option<&Hop> {
        let next_hop = match to {
            IpAddr::V4(ip) => self.v4.find(u32::from(ip)),
            IpAddr::V6(ip) => self.v6.find(u128::from(ip)),
        };
        match next_hop? {
            NextHopKind::Kernel => None,
            NextHopKind::Router(hop) => Some(hop),
            NextHopKind::Link(interface) => self.neighbours.get(&(*interface, to)),
        }
    }

    /// Adds a prefix. Without `next_hop` it is a local prefix.
    fn add(&mut self, to: IpAddr, length: u8, next_hop: Option<NextHopKind>) {
        let bits = u32::from(length);
        match to {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                self.v4.add((u32::from(ip), mask, length), next_hop);
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                self.v6.add((u128::from(ip), mask, length), next_hop);
            }
        }
    }
}

impl<T: Copy + PartialEq + BitAnd<Output = T>> Table<T> {
    fn add(&mut self, (bits, mask, length): (T, T, u8), next_hop: Option<NextHopKind>) {
        let list = match next_hop {
            Some(_) => &mut self.routes,
            None => &mut self.local,
        };
        list.push(Prefix {
            bits,
            mask,
            length,
            next_hop: next_hop.unwrap_or(NextHopKind::Kernel),
        });
    }

    fn sort_prefixes(&mut self) {
        self.routes.sort_by_key(|prefix| Reverse(prefix.length));
    }

    /// Next hop of the longest prefix that contains `ip`; `None` if `ip` is local or unknown.
    fn find(&self, ip: T) -> Option<&NextHopKind> {
        let has = |prefix: &&Prefix<T>| ip & prefix.mask == prefix.bits;
        if self.local.iter().any(|prefix| has(&prefix)) {
            return None;
        }
        let found = self.routes.iter().find(has);
        found.map(|prefix| &prefix.next_hop)
    }
}

impl Hop {
    fn new(link: &Link, neighbour: &Neighbour) -> Self {
        let mut ethernet = [0; 14];
        ethernet[..6].copy_from_slice(&neighbour.mac);
        ethernet[6..12].copy_from_slice(&link.mac);
        ethernet[12..].copy_from_slice(match neighbour.ip {
            IpAddr::V4(_) => &ETHERTYPE_IPV4,
            IpAddr::V6(_) => &ETHERTYPE_IPV6,
        });
        Self {
            interface: link.index,
            ethernet,
            mtu: link.mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const BESIDE: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 99];

    fn neighbour(ip: &str, mac: [u8; 6], reach: Reachability) -> Neighbour {
        Neighbour {
            interface: 2,
            ip: ip.parse().unwrap(),
            mac,
            reach,
            is_router: false,
        }
    }

    fn local(ip: &str, length: u8) -> Local {
        Local {
            to: ip.parse().unwrap(),
            length,
            is_own: true,
        }
    }

    fn route(prefix: &str, target: RouteTarget) -> Route {
        let (to, length) = prefix.split_once('/').unwrap();
        Route {
            to: to.parse().unwrap(),
            length: length.parse().unwrap(),
            target,
        }
    }

    fn through(interface: u32, router: Option<&str>) -> RouteTarget {
        RouteTarget::Link {
            interface,
            router: router.map(|ip| ip.parse().unwrap()),
            mtu: u32::MAX,
        }
    }

    fn facts() -> Facts {
        Facts {
            links: vec![Link {
                index: 2,
                mac: OURS,
                mtu: 1_500,
            }],
            local: vec![local("192.0.2.9", 32), local("10.64.0.0", 10)],
            routes: vec![
                route("0.0.0.0/0", through(2, Some("192.0.2.1"))),
                route("192.0.2.0/24", through(2, None)),
                route("198.51.100.0/24", through(5, None)),
                route("203.0.113.0/24", through(2, Some("192.0.2.250"))),
                route("203.0.114.0/24", through(2, Some("192.0.2.2"))),
                route("::/0", through(2, Some("fe80::1"))),
                route("2001:db8::/32", RouteTarget::Kernel),
                route("10.64.1.0/24", through(2, Some("192.0.2.1"))),
            ],
            neighbours: vec![
                neighbour("192.0.2.1", ROUTER, Reachability::Fresh),
                neighbour("192.0.2.2", ROUTER, Reachability::Stale),
                neighbour("192.0.2.7", BESIDE, Reachability::Fresh),
                neighbour("192.0.2.8", BESIDE, Reachability::Stale),
                neighbour("fe80::1", ROUTER, Reachability::Fresh),
            ],
            left_out: None,
        }
    }

    fn mac_of(routes: &Routes, ip: &str) -> Option<[u8; 6]> {
        let hop = routes.hop(ip.parse().unwrap())?;
        assert_eq!(hop.ethernet[6..12], OURS);
        assert_eq!((hop.interface, hop.mtu), (2, 1_500));
        Some(hop.ethernet[..6].try_into().unwrap())
    }

    #[test]
    fn the_longest_prefix_says_which_neighbour_takes_it() {
        let routes = Routes::new(&facts());
        assert_eq!(mac_of(&routes, "8.8.8.8"), Some(ROUTER));
        assert_eq!(mac_of(&routes, "192.0.2.7"), Some(BESIDE));
        assert_eq!(mac_of(&routes, "2a00::1"), Some(ROUTER));
        let types = ["8.8.8.8", "2a00::1"].map(|ip| routes.hop(ip.parse().unwrap()).unwrap());
        assert_eq!(types[0].ethernet[12..], ETHERTYPE_IPV4);
        assert_eq!(types[1].ethernet[12..], ETHERTYPE_IPV6);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_kernel() {
        let routes = Routes::new(&facts());
        for (ip, why) in [
            ("192.0.2.9", "ourselves"),
            ("192.0.2.8", "a neighbour nobody has heard of lately"),
            ("192.0.2.44", "a neighbour nobody knows"),
            ("198.51.100.1", "an interface that is no Ethernet, or down"),
            ("203.0.113.1", "a router nobody knows"),
            ("203.0.114.1", "a router nobody has heard of lately"),
            (
                "10.64.1.1",
                "kept by the host, whatever longer prefix there is",
            ),
            ("2001:db8::1", "a way only the kernel knows"),
        ] {
            assert_eq!(routes.hop(ip.parse().unwrap()), None, "{why}");
        }
        assert_eq!(Routes::default().hop("8.8.8.8".parse().unwrap()), None);
        let own =
            ["192.0.2.9", "192.0.2.10", "10.64.0.1"].map(|ip| routes.is_own(ip.parse().unwrap()));
        assert_eq!(
            own,
            [true, false, false],
            "only what is an address of the host"
        );
    }

    #[test]
    fn a_route_may_take_less_than_its_link() {
        let mut facts = facts();
        let small = |router: Option<&str>| RouteTarget::Link {
            interface: 2,
            router: router.map(|ip| ip.parse().unwrap()),
            mtu: 1_280,
        };
        facts.routes[0].target = small(Some("192.0.2.1"));
        facts.routes[1].target = small(None);
        let routes = Routes::new(&facts);
        assert_eq!(routes.hop("8.8.8.8".parse().unwrap()).unwrap().mtu, 1_280);
        assert_eq!(routes.hop("192.0.2.7".parse().unwrap()), None);
    }

    #[test]
    fn routers_not_confirmed_recently_are_probed() {
        let mut facts = facts();
        let asked: Vec<_> = facts
            .stale_routers()
            .map(|router| {
                router.reach = Reachability::Fresh; // like after a probe by the kernel
                router.ip.to_string()
            })
            .collect();
        assert_eq!(asked, ["192.0.2.2"], "and not its neighbours");
        assert_eq!(mac_of(&Routes::new(&facts), "203.0.114.1"), Some(ROUTER));
    }
}
