//! Reads links, rules, routes and neighbours of the kernel (rtnetlink(7)), as far as this module supports them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::neighbour::{Neighbour, Reachability};
use super::netlink::Netlink;
use crate::limits::MAX_ROUTES;

/// Links, routes and neighbours of the kernel at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Ethernet interfaces that are up.
    pub links: Vec<Link>,
    /// Prefixes of the local table, which the kernel checks before all routes.
    pub local: Vec<Local>,
    /// Routes; empty if rules select tables, or if there are too many routes.
    pub routes: Vec<Route>,
    /// Neighbours with a known link-layer address.
    pub neighbours: Vec<Neighbour>,
    /// Reason why `routes` is empty; `None` otherwise.
    pub left_out: Option<&'static str>,
}

/// A prefix of the kernel's local table, which has priority over all routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Address of the local prefix.
    pub to: IpAddr,
    /// Length of the prefix, in bits.
    pub length: u8,
    /// True for addresses of the host, false for broadcast addresses.
    pub is_own: bool,
}

/// An Ethernet interface of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index of the kernel.
    pub index: u32,
    /// Link-layer address of the interface.
    pub mac: [u8; 6],
    /// Maximum size of an IP packet, in bytes.
    pub mtu: u32,
}

/// Route of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Address of the destination prefix.
    pub to: IpAddr,
    /// Length of the prefix, in bits.
    pub length: u8,
    /// Next hop of the prefix.
    pub target: RouteTarget,
}

/// Next hop of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTarget {
    /// The kernel's stack must send: the destination is this host, behind a tunnel, or has several routes.
    Kernel,
    /// Through an Ethernet interface, directly or through a router.
    Link {
        /// Interface index of the kernel.
        interface: u32,
        /// IP address of the router; `None`: the destination is on the link.
        router: Option<IpAddr>,
        /// Maximum size of an IP packet, in bytes.
        mtu: u32,
    },
}

impl Facts {
    /// Reads rules, routes, neighbours and addresses from the kernel.
    pub(super) fn read(netlink: &mut Netlink) -> io::Result<Self> {
        let mut facts = Self::default();
        let rules = RouteNetlinkMessage::GetRule(RuleMessage::default());
        if !netlink.dump(&rules, MAX_ROUTES)?.iter().all(is_plain) {
            facts.left_out = Some("rules choose between routing tables");
            return Ok(facts);
        }
        let routes = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let routes = netlink.dump(&routes, MAX_ROUTES)?;
        if routes.len() > MAX_ROUTES {
            facts.left_out = Some("there are too many routes");
            return Ok(facts);
        }
        facts.sort(&routes);
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        for message in netlink.dump(&links, usize::MAX)? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                facts.links.extend(read_link(&link));
            }
        }
        let neighbours = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        for message in netlink.dump(&neighbours, usize::MAX)? {
            if let RouteNetlinkMessage::NewNeighbour(neighbour) = message {
                facts.neighbours.extend(read_neighbour(&neighbour));
            }
        }
        Ok(facts)
    }

    /// Adds routes of the tables that the default rules use; ignores others.
    fn sort(&mut self, routes: &[RouteNetlinkMessage]) {
        let mut candidates = Vec::new();
        for message in routes {
            let RouteNetlinkMessage::NewRoute(route) = message else {
                continue;
            };
            match route.header.table {
                TABLE_LOCAL => self.local.extend(read_local(route)),
                RouteHeader::RT_TABLE_MAIN | TABLE_DEFAULT => candidates.extend(read_route(route)),
                _ => {}
            }
        }
        self.routes = best(candidates);
    }

    /// Routers that the kernel has not confirmed recently.
    pub(super) fn stale_routers(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        let Self {
            routes, neighbours, ..
        } = self;
        let is_router = |neighbour: &Neighbour| {
            routes.iter().any(|route| {
                matches!(route.target, RouteTarget::Link { interface, router: Some(router), .. }
                    if (interface, router) == (neighbour.interface, neighbour.ip))
            })
        };
        let stale = neighbours
            .iter_mut()
            .filter(|n| n.reach == Reachability::Stale);
        stale.filter(move |neighbour| is_router(neighbour))
    }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    let is_up = header.flags.contains(LinkFlags::Up);
    if header.link_layer_type != LinkLayerType::Ether || !is_up {
        return None;
    }
    let (mut mac, mut mtu) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(address) => mac = address.as_slice().try_into().ok(),
            LinkAttribute::Mtu(bytes) => mtu = Some(*bytes),
            _ => {}
        }
    }
    Some(Link {
        index: header.index,
        mac: mac?,
        mtu: mtu?,
    })
}

fn read_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let header = &message.header;
    let reach = match header.state {
        NeighbourState::Reachable
        | NeighbourState::Permanent
        | NeighbourState::Noarp
        | NeighbourState::Delay
        | NeighbourState::Probe => Reachability::Fresh,
        NeighbourState::Stale => Reachability::Stale,
        _ => return None,
    };
    // A managed neighbour is kept fresh by the program that added it.
    let is_managed = header.flags.contains(NeighbourFlags::ExtLearned)
        || message
            .attributes
            .iter()
            .any(|a| matches!(a, NeighbourAttribute::ExtFlags(_)));
    if header.flags.contains(NeighbourFlags::Proxy) || (is_managed && reach == Reachability::Stale)
    {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(address) => {
                mac = address.as_slice().try_into().ok()
            }
            _ => {}
        }
    }
    Some(Neighbour {
        interface: header.ifindex,
        ip: ip?,
        mac: mac?,
        reach,
        is_router: header.flags.contains(NeighbourFlags::Router),
    })
}

/// True for the default rules of every host: local, main and default table, for all packets.
fn is_plain(message: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewRule(rule) = message else {
        return true;
    };
    let header = &rule.header;
    let families = [AddressFamily::Inet, AddressFamily::Inet6];
    if !families.contains(&header.family) {
        return true; // a rule for multicast routing
    }
    let for_all = header.dst_len == 0 && header.src_len == 0 && header.tos == 0;
    let tables = [TABLE_LOCAL, RouteHeader::RT_TABLE_MAIN, TABLE_DEFAULT];
    let is_inverted = header.flags.contains(RuleFlags::Invert);
    let to_usual = header.action == RuleAction::ToTable && tables.contains(&header.table);
    let is_known = |attribute: &RuleAttribute| {
        matches!(
            attribute,
            RuleAttribute::Priority(_)
                | RuleAttribute::Table(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(u32::MAX)
        )
    };
    for_all && to_usual && !is_inverted && rule.attributes.iter().all(is_known)
}

const TABLE_LOCAL: u8 = 255;
const TABLE_DEFAULT: u8 = 253;

/// Destination and other attributes of a route.
fn read(message: &RouteMessage) -> Option<(IpAddr, Found)> {
    let mut found = Found::default();
    for attribute in &message.attributes {
        found.note(attribute);
    }
    let everybody = match message.header.address_family {
        AddressFamily::Inet => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    };
    Some((found.to.or(everybody)?, found))
}

/// Prefixes of the local table among `routes`.
pub(super) fn local_prefixes(
    routes: &[RouteNetlinkMessage],
) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
    let local = routes.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) if route.header.table == TABLE_LOCAL => {
            read_local(route)
        }
        _ => None,
    });
    local.map(|local| (local.to, local.length))
}

fn read_local(message: &RouteMessage) -> Option<Local> {
    let (to, _) = read(message)?;
    Some(Local {
        to,
        length: message.header.destination_prefix_length,
        is_own: message.header.kind == RouteType::Local,
    })
}

/// A route and its priority; the lowest is used. Routes for certain sources have priority over routes for all.
fn read_route(message: &RouteMessage) -> Option<(u32, Route)> {
    let header = &message.header;
    let (to, mut found) = read(message)?;
    if header.source_prefix_length > 0 {
        found.priority = 0;
    }
    let is_usual = header.kind == RouteType::Unicast
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.tos == 0
        && header.source_prefix_length == 0
        && !header
            .flags
            .intersects(RouteFlags::Dead | RouteFlags::Linkdown)
        && !found.is_special
        && !is_link_local(to);
    let target = match found.interface.filter(|_| is_usual) {
        Some(interface) => RouteTarget::Link {
            interface,
            router: found.router,
            mtu: found.mtu,
        },
        None => RouteTarget::Kernel,
    };
    let length = header.destination_prefix_length;
    Some((found.priority, Route { to, length, target }))
}

/// Attributes of a route.
struct Found {
    to: Option<IpAddr>,
    interface: Option<u32>,
    router: Option<IpAddr>,
    priority: u32,
    mtu: u32,
    /// True for several next hops, a tunnel, or a router of the other address family.
    is_special: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            to: None,
            interface: None,
            router: None,
            priority: 0,
            mtu: u32::MAX,
            is_special: false,
        }
    }
}

impl Found {
    fn note(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => self.to = ip(address),
            RouteAttribute::Gateway(address) => match ip(address) {
                Some(router) => self.router = Some(router),
                None => self.is_special = true,
            },
            RouteAttribute::Oif(interface) => self.interface = Some(*interface),
            RouteAttribute::Priority(priority) => self.priority = *priority,
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    if let RouteMetric::Mtu(bytes) = metric {
                        self.mtu = *bytes;
                    }
                }
            }
            RouteAttribute::MultiPath(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::NhId(_) => self.is_special = true,
            _ => {} // does not affect the next hop
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// True for addresses that mean another host on each link.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// One route per prefix: the one with the lowest priority. If two have the same priority, the kernel must send.
fn best(mut routes: Vec<(u32, Route)>) -> Vec<Route> {
    let key = |(_, route): &(u32, Route)| (route.to, route.length);
    routes.sort_by_key(|found| (key(found), found.0, found.1.target != RouteTarget::Kernel));
    let mut best: Vec<(u32, Route)> = Vec::with_capacity(routes.len());
    for found in routes {
        match best.last_mut().filter(|last| key(last) == key(&found)) {
            Some(last) if last.0 == found.0 => last.1.target = RouteTarget::Kernel,
            Some(_) => {}
            None => best.push(found),
        }
    }
    best.into_iter().map(|(_, route)| route).collect()
}

#[cfg(test)]
mod tests;
