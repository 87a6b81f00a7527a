//! Clients that reach the shard through its own TURN server.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use spillway_wire::stun::{Class, Method, kinds};
use spillway_wire::turn::ChannelData;

use super::rig::Rig;
use crate::drop_reason::DropReason;
use crate::io::clock;
use crate::key::SessionKey;
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::shard::turn_service::TurnService;
use crate::turn::tests::rig::{Answer, REALM, SECRET, TestClient, udp};
use crate::turn::{
    Client as TurnClient, Config, Limits, Now, Ourselves, Outcome, Peers, RelayAddresses, Server,
    Transport,
};

const CHANNEL: u16 = 0x4001;
/// Lifetime of the clients' TURN credentials, in seconds.
const CREDENTIALS_S: u64 = 60;

/// The TURN server of a shard whose media address is `media`.
pub(super) fn turn(media: SocketAddr, port: u16) -> TurnService {
    let config = Config {
        realm: REALM.into(),
        secrets: vec![SECRET.into()],
        secret_grace: Duration::from_secs(3_600),
        nonce_secret: [3; 32],
        relay: RelayAddresses {
            v4: Some([127, 0, 0, 1].into()),
            v6: None,
            ports: 1_024..=9_999, // below the ephemeral ports of the test's own sockets
            except: Vec::new(),
            step: NonZeroU16::MIN,
            offset: 0,
        },
        ourselves: Ourselves {
            listening: vec![SocketAddr::new(media.ip(), port)],
            inside: vec![media],
        },
        peers: Peers::Cluster(vec![media]),
        denied: Vec::new(),
        nat64: Vec::new(),
        limits: Limits::default(),
    };
    let server = Server::new(config, Instant::now(), fastrand::Rng::new()).unwrap();
    TurnService::new(server, port).unwrap()
}

/// A client's TURN allocation, and the channel through which all its datagrams pass.
pub(super) struct RelayedPath {
    turn: SocketAddr,
    media: SocketAddr,
    relayed: SocketAddr,
    /// A Refresh request for ten minutes, with credentials.
    pub(super) refresh: Vec<u8>,
    /// Shortest and longest length of channel data.
    pub(super) lengths: Vec<usize>,
}

impl RelayedPath {
    /// Makes an allocation with a channel to the media port.
    pub(super) fn open(socket: &UdpSocket, rig: &mut Rig) -> Self {
        let (turn, media) = (rig.turn_addr(), rig.media());
        let own = socket.local_addr().unwrap();
        let mut client = TestClient::new(&own.to_string());
        let username = format!("{}:carol", clock::unix_s() + CREDENTIALS_S);
        client.mint(username.as_bytes(), SECRET);
        let mut ask = |request: Vec<u8>| {
            socket.send_to(&request, turn).unwrap();
            let give_up = Instant::now() + Duration::from_secs(5);
            let mut buffer = [0; 2_048];
            loop {
                rig.turn();
                if let Ok((length, source)) = socket.recv_from(&mut buffer) {
                    assert_eq!(source, turn);
                    return Answer(buffer[..length].to_vec());
                }
                assert!(Instant::now() < give_up, "no answer");
            }
        };
        let refused = ask(client.unsigned(Method::Allocate, udp));
        assert_eq!(refused.code(), Some(401));
        client.nonce = refused.get(kinds::NONCE).unwrap();
        let allocated = ask(client.request(Method::Allocate, udp));
        allocated.expect(Class::Success);
        let bound = ask(client.request(Method::ChannelBind, |writer| {
            writer
                .number(kinds::CHANNEL_NUMBER, u32::from(CHANNEL) << 16)
                .xor_address(kinds::XOR_PEER_ADDRESS, media);
        }));
        bound.expect(Class::Success);
        let refresh = client.request(Method::Refresh, |writer| {
            writer.number(kinds::LIFETIME, 600);
        });
        Self {
            refresh,
            turn,
            media,
            relayed: allocated.address(kinds::XOR_RELAYED_ADDRESS).unwrap(),
            lengths: Vec::new(),
        }
    }

    pub(super) fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    pub(super) fn wrap(&self, bytes: &[u8], to: SocketAddr) -> (Vec<u8>, SocketAddr) {
        assert_eq!(to, self.media);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        ([&CHANNEL.to_be_bytes(), &length, bytes].concat(), self.turn)
    }

    pub(super) fn unwrap<'a>(
        &mut self,
        bytes: &'a [u8],
        from: SocketAddr,
    ) -> Option<(&'a [u8], SocketAddr)> {
        assert_eq!(from, self.turn, "all that it hears comes from the relay");
        let channel = ChannelData::parse(bytes).unwrap();
        self.lengths.push(channel.data.len());
        Some((channel.data, self.media))
    }
}

#[test]
fn a_relayed_subscriber_gets_every_packet_and_no_socket_is_opened_for_it() {
    let mut rig = Rig::start(1);
    let client = rig.relayed();
    let relayed = client.addr();
    assert!(
        UdpSocket::bind(relayed).is_ok(),
        "what stays inside takes no port of the kernel"
    );
    rig.subscribe(SessionKey(900), client);
    rig.until("the relayed one to connect", |rig| {
        rig.subscribers[1].connected
    });
    rig.until("media to flow", |rig| {
        rig.send(1, true, 1_000);
        !rig.subscribers[1].received.is_empty()
    });
    rig.run_for(Duration::from_millis(100));
    rig.subscribers
        .iter_mut()
        .for_each(|client| client.received.clear());
    for frame in 0..50 {
        rig.send(1 + frame % 7, frame == 0, 1_100);
        rig.step();
    }
    rig.run_for(Duration::from_millis(200));
    let counts: Vec<usize> = rig.subscribers.iter().map(|c| c.received.len()).collect();
    assert_eq!(counts[0], counts[1], "as many as who is not relayed");
    assert!(counts[1] >= (0..50).map(|frame| 1 + frame % 7).sum::<usize>());
    let turn = rig.shard.egress.turn.as_ref().unwrap();
    let udp = turn.server().counts().of(Transport::Udp);
    assert!(udp.to_client_packets as usize >= counts[1] && udp.to_peer_packets > 0);
    let described = turn.server().describe(Instant::now());
    assert_eq!(described.len(), 1);
    assert_eq!(described[0].relayed, [relayed]);
    assert_eq!((described[0].channels, described[0].permissions), (1, 1));
    assert_eq!(described[0].to_client_bytes, udp.to_client_bytes);
    assert_eq!(rig.shard.report.drops.of(DropReason::NotRelayed), 0);
}

#[test]
fn without_credentials_an_allocation_goes_on_while_a_session_uses_it() {
    let mut rig = Rig::start(1);
    let client = rig.relayed();
    let own = client.socket.local_addr().unwrap();
    let refresh = client.relayed_path().unwrap().refresh.clone();
    assert_eq!(refreshed(&mut rig, own, &refresh), Some(401), "nobody's");
    rig.subscribe(SessionKey(900), client);
    rig.until("the relayed one to connect", |rig| {
        rig.subscribers[1].connected
    });
    assert_eq!(refreshed(&mut rig, own, &refresh), None, "a session's");
}

/// Error code of the Refresh of the client at `own`, after its credentials have expired; `None` if it is granted.
fn refreshed(rig: &mut Rig, own: SocketAddr, refresh: &[u8]) -> Option<u16> {
    let client = TurnClient::udp(own, rig.turn_addr());
    let now = Now {
        instant: Instant::now(),
        unix_s: clock::unix_s() + CREDENTIALS_S,
    };
    let turn = rig.shard.egress.turn.as_mut().unwrap();
    match turn.server_mut().handle_client(now, &client, refresh) {
        Outcome::Reply(reply) => Answer(reply.to_vec()).code(),
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn what_is_too_long_for_a_media_socket_is_too_long_through_the_relay() {
    let mut rig = Rig::start(1);
    let client = rig.relayed();
    let own = client.socket.local_addr().unwrap();
    let known = TurnClient::udp(own, rig.turn_addr());
    let (media, now) = (rig.media(), clock::now());
    for (bytes, too_long) in [
        (MAX_DATAGRAM_BYTES, 0),
        (MAX_DATAGRAM_BYTES + 1, 1),
        (65_000, 2),
    ] {
        // RTP of an unknown SSRC.
        let datagram = [&[0x80][..], &vec![96; bytes - 1]].concat();
        let (message, _) = client.relayed_path().unwrap().wrap(&datagram, media);
        rig.shard.turn_message(&known, &message, now);
        assert_eq!(
            rig.shard.report.drops.of(DropReason::Truncated),
            too_long,
            "{bytes} bytes"
        );
        assert_eq!(rig.shard.report.drops.of(DropReason::UnknownSource), 1);
    }
}
