//! Datagrams that go to their server through a bound channel of a TURN relay.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use spillway_wire::turn::{ChannelData, ChannelNumber};

use super::socket::FarmSocket;

/// A TURN channel for each address, all to the same peer.
#[derive(Debug, Clone, Copy)]
pub struct Detour {
    /// Address of the relay.
    pub relay: SocketAddrV4,
    /// Peer behind the channel.
    pub peer: SocketAddrV4,
    /// Channel number of all clients.
    pub channel: ChannelNumber,
}

impl Detour {
    /// Sends `datagram` from our address `source` to the peer.
    pub fn send(&self, socket: &FarmSocket, source: Ipv4Addr, datagram: &[u8]) -> io::Result<()> {
        let length = u16::try_from(datagram.len()).map_err(io::Error::other)?;
        let header = ChannelData::header(self.channel, length);
        socket.send(source, self.relay, &[&header, datagram].concat())
    }

    /// Sender and payload of `datagram`, which came from `source`. `None` for messages of the relay itself, or if
    /// `detour` is set and the datagram did not come through it.
    pub fn unpack(
        detour: Option<Self>,
        source: SocketAddrV4,
        datagram: &[u8],
    ) -> Option<(SocketAddrV4, &[u8])> {
        let Some(detour) = detour else {
            return Some((source, datagram));
        };
        let channel = ChannelData::parse(datagram).ok()?;
        let is_ours = source == detour.relay && channel.number == detour.channel;
        is_ours.then_some((detour.peer, channel.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_through_is_the_peers() {
        let [relay, peer, other] = ["192.0.2.1:3478", "192.0.2.2:7882", "192.0.2.3:9"]
            .map(|addr| addr.parse::<SocketAddrV4>().unwrap());
        let channel = ChannelNumber::new(0x4001).unwrap();
        let detour = Detour {
            relay,
            peer,
            channel,
        };
        let packed = [&ChannelData::header(channel, 2)[..], b"hi"].concat();
        let through = Detour::unpack(Some(detour), relay, &packed);
        assert_eq!(through, Some((peer, &b"hi"[..])));
        assert_eq!(Detour::unpack(Some(detour), other, &packed), None);
        assert_eq!(Detour::unpack(Some(detour), relay, b"stun"), None);
        let direct = Detour::unpack(None, other, b"hi");
        assert_eq!(direct, Some((other, &b"hi"[..])));
    }
}
