//! rtnetlink requests about links, rules, routes and neighbours.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteFlags;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::neighbour::Neighbour;

/// Maximum number of attempts at a dump that changes while it is read.
const DUMP_TRIES: usize = 3;

/// A netlink socket. After an error it may contain answers to earlier requests, and must be opened again.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket for change notifications of `groups`, or for requests if `groups` is empty.
    pub(super) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Waits for any change notification.
    pub(super) fn wait_for_change(&mut self) -> io::Result<()> {
        self.take_change(0)
    }

    /// Discards further change notifications that wait.
    pub(super) fn take_changes(&mut self) -> io::Result<()> {
        loop {
            match self.take_change(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// An overflow of notifications counts as one change.
    fn take_change(&mut self, flags: libc::c_int) -> io::Result<()> {
        let mut beginning = [0; 16]; // the content of a notification is not needed: the next dump is read
        match self.socket.recv_from(&mut &mut beginning[..], flags) {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Requests that the kernel probes `neighbour`.
    pub(super) fn probe(&mut self, neighbour: &Neighbour) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = neighbour.interface;
        message.header.state = NeighbourState::Probe;
        if neighbour.is_router {
            message.header.flags = NeighbourFlags::Router;
        }
        let (family, address) = match neighbour.ip {
            IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
            IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
        };
        message.header.family = family;
        // Without a link-layer address the kernel keeps its own, which may be newer than ours.
        message.attributes = vec![NeighbourAttribute::Destination(address)];
        self.ask(&RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK)?;
        self.answers(0).map(drop)
    }

    /// All entries of a kind: at most `limit`, plus one if there are more.
    pub(super) fn dump(
        &mut self,
        what: &RouteNetlinkMessage,
        limit: usize,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 1..DUMP_TRIES {
            self.ask(what, NLM_F_DUMP)?;
            if let (answers, false) = self.answers(limit)? {
                return Ok(answers);
            }
        }
        self.ask(what, NLM_F_DUMP)?;
        Ok(self.answers(limit)?.0)
    }

    fn ask(&mut self, what: &RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(what.clone()));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads the kernel's answers. Also returns whether the data changed meanwhile. An unreadable entry is an error,
    /// because an unknown rule or route may be the one that is used.
    fn answers(&mut self, limit: usize) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let (mut answers, mut changed) = (Vec::new(), false);
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|error| {
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                    })?;
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest
                    .get(length.max(NETLINK_HEADER_BYTES)..)
                    .unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                changed |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::Done(done) if done.code != 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok((answers, changed)),
                    NetlinkPayload::InnerMessage(inner) if is_exception(&inner) => {}
                    NetlinkPayload::InnerMessage(_) if answers.len() > limit => {}
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok((answers, changed)),
                        Some(_) => return Err(error.to_io()),
                    },
                    _ => {}
                }
            }
        }
    }
}

const NETLINK_HEADER_BYTES: usize = 16;

/// True for a learned exception of one destination (redirect, path MTU), which is not a route. The kernel lists
/// exceptions too, and other hosts can cause many.
fn is_exception(message: &RouteNetlinkMessage) -> bool {
    matches!(message, RouteNetlinkMessage::NewRoute(route) if route.header.flags.contains(RouteFlags::Cloned))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteMessage;

    use super::*;

    #[test]
    fn what_was_learned_of_a_destination_is_no_route() {
        let mut route = RouteMessage::default();
        assert!(!is_exception(&RouteNetlinkMessage::NewRoute(route.clone())));
        route.header.flags = RouteFlags::Cloned;
        assert!(is_exception(&RouteNetlinkMessage::NewRoute(route)));
    }

    #[test]
    fn answers_belong_to_the_request_and_are_limited() {
        let mut netlink = Netlink::open(&[]).unwrap();
        let nobody = RouteNetlinkMessage::NewNeighbour(NeighbourMessage::default());
        netlink.ask(&nobody, NLM_F_ACK).unwrap(); // the answer is not read
        let routes = RouteNetlinkMessage::GetRoute(Default::default());
        let found = netlink.dump(&routes, 1).unwrap();
        assert_eq!(found.len(), 2, "one, and that there are more");
        let is_route =
            |message: &RouteNetlinkMessage| matches!(message, RouteNetlinkMessage::NewRoute(_));
        assert!(found.iter().all(is_route), "{found:?}");
    }

    #[test]
    fn an_absent_neighbour_is_not_probed() {
        let mut netlink = Netlink::open(&[]).unwrap();
        let nobody = Neighbour {
            interface: u32::MAX >> 1,
            ip: IpAddr::from([192, 0, 2, 1]),
            mac: [2; 6],
            reach: crate::io::route::Reachability::Stale,
            is_router: false,
        };
        netlink.probe(&nobody).unwrap_err();
    }
}
