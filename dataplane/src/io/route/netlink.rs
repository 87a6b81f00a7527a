//! A conversation with the kernel about its routes.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Neighbour;

/// Tries at a dump that changes while it is read.
const DUMP_TRIES: usize = 3;

/// The socket it is held through.
pub(super) struct Netlink(Socket);

impl Netlink {
    /// Opens one; with `groups` of changes it is told of, or to ask with.
    pub(super) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Waits for something to change, without saying what. Changes that were too many to be told of count as one.
    pub(super) fn wait_for_change(&mut self) -> io::Result<()> {
        match self.0.recv_from_full() {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Takes what else has changed.
    pub(super) fn take_changes(&mut self) -> io::Result<()> {
        self.0.set_non_blocking(true)?;
        loop {
            match self.wait_for_change() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.0.set_non_blocking(false)
    }

    /// Has the kernel ask `neighbour` whether it is still there.
    pub(super) fn probe(&mut self, neighbour: &Neighbour) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = neighbour.interface;
        message.header.state = NeighbourState::Probe;
        let (family, address) = match neighbour.ip {
            IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
            IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
        };
        message.header.family = family;
        message.attributes = vec![
            NeighbourAttribute::Destination(address),
            NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()),
        ];
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.ask(&message, NLM_F_ACK | NLM_F_REPLACE)?;
        self.answers().map(drop)
    }

    /// Everything of a kind that the kernel has.
    pub(super) fn dump(
        &mut self,
        what: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 1..DUMP_TRIES {
            self.ask(what, NLM_F_DUMP)?;
            if let (answers, false) = self.answers()? {
                return Ok(answers);
            }
        }
        self.ask(what, NLM_F_DUMP)?;
        Ok(self.answers()?.0)
    }

    fn ask(&mut self, what: &RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(what.clone()));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    /// What the kernel answers; whether it changed meanwhile.
    fn answers(&mut self) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let (mut answers, mut changed) = (Vec::new(), false);
        loop {
            let (bytes, _) = self.0.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let header = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                let length = length_of(rest).ok_or_else(|| invalid("a message has no length"))?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                // What this library does not know of is nothing we ask for.
                let Ok(message) = header else { continue };
                changed |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok((answers, changed)),
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

/// nlmsg_len
fn length_of(message: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok().filter(|length| *length >= 16)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
