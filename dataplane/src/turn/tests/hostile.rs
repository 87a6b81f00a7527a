//! Messages of real clients, randomly corrupted: a seeded run over the whole server. The server must not panic, relay
//! to a forbidden peer, or exceed a limit.

use std::net::SocketAddr;
use std::time::Duration;

use spillway_wire::stun::{Message, Method, Writer, kinds};

use super::rig::*;
use crate::turn::{Client, Event, Limits, Outcome, StreamId, Transport};

const ROUNDS: usize = 60_000;
const CLIENTS: usize = 12;
const MAX_ALLOCATIONS: usize = 8;
const PEERS: [&str; 6] = [
    MEDIA,
    NODE,
    NODE_V6,
    "127.0.0.1:5000",
    "[::ffff:198.51.100.2]:5000",
    "198.51.100.1:50000",
];

struct Crowd {
    rig: Rig,
    rng: fastrand::Rng,
    clients: Vec<TestClient>,
    /// Relayed addresses of live allocations.
    open: Vec<SocketAddr>,
    relayed: usize,
    delivered: usize,
    answered: usize,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.limits = Limits {
            allocations: MAX_ALLOCATIONS,
            ..Limits::default()
        };
        let client = |number: usize| {
            let mut client = TestClient::new(&format!("192.0.{number}.7:40000"));
            client.mint(format!("{}:u{number}", START_S + 86_000).as_bytes(), SECRET);
            if number.is_multiple_of(3) {
                let (remote, local) = (client.client.remote, client.client.local);
                let stream = StreamId(number as u64);
                client.client = Client::stream(Transport::Tcp, stream, remote, local);
            }
            if number.is_multiple_of(2) {
                client.mode = Mode::Sha256;
                client.fingerprint = true;
            }
            client
        };
        Self {
            rig: Rig::with(config),
            rng: fastrand::Rng::with_seed(seed),
            clients: (0..CLIENTS).map(client).collect(),
            open: Vec::new(),
            relayed: 0,
            delivered: 0,
            answered: 0,
        }
    }

    fn step(&mut self) {
        let number = self.rng.usize(..CLIENTS);
        let mut bytes = self.message(number);
        if self.rng.u8(..4) == 0 {
            self.break_it(&mut bytes);
        }
        let client = self.clients[number].client;
        let mut nonce = None;
        match self.rig.handle(&client, &bytes) {
            Outcome::Reply(reply) => {
                let reply = Message::parse(reply).expect("we write sound messages");
                assert_eq!(reply.bytes()[8..20], bytes[8..20], "the transaction");
                nonce = reply.find(kinds::NONCE).map(|nonce| nonce.value.to_vec());
                self.answered += 1;
            }
            Outcome::Relay(relay) => {
                let peer = relay.peer.to_string();
                assert!(PEERS[..3].contains(&&*peer), "{peer}");
                assert!(relay.payload.end <= bytes.len());
                assert_eq!(relay.relayed.is_ipv4(), relay.peer.is_ipv4());
                self.relayed += 1;
            }
            Outcome::Silent(_) => {}
        }
        if let Some(nonce) = nonce {
            self.clients[number].nonce = nonce;
        }
        self.receive_from_peer();
        if self.rng.u16(..500) == 0 {
            let seconds = self.rng.u64(..400);
            self.rig.now.instant += Duration::from_secs(seconds);
            self.rig.now.unix_s += seconds / 20; // credentials must remain valid
            self.rig.run_timers();
        }
        if self.rng.u16(..2_000) == 0 {
            self.rig.server.client_gone(&client);
        }
        self.check_events();
    }

    /// A random message of a client.
    fn message(&mut self, number: usize) -> Vec<u8> {
        let rng = &mut self.rng;
        let client = &mut self.clients[number];
        let peer = addr(PEERS[rng.usize(..PEERS.len())]);
        let (lifetime, channel) = (rng.u32(..1_000), 0x4000 + rng.u32(..40));
        let (odd, second) = (rng.u8(..8), addr(PEERS[rng.usize(..PEERS.len())]));
        let write = |writer: &mut Writer<'_>| {
            writer.number(kinds::LIFETIME, if odd == 0 { 0 } else { lifetime });
            match odd {
                1 => writer.attribute(kinds::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                2 => writer.attribute(kinds::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                3 => writer.xor_address(kinds::XOR_PEER_ADDRESS, second),
                4 => writer.attribute(kinds::EVEN_PORT, &[0]),
                _ => writer,
            }
            .number(kinds::CHANNEL_NUMBER, channel << 16)
            .xor_address(kinds::XOR_PEER_ADDRESS, peer)
            .attribute(kinds::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        };
        match rng.u8(..10) {
            0 => client.unsigned(Method::Binding, write),
            1 | 2 => client.request(Method::Allocate, write),
            3 => client.request(Method::Refresh, write),
            4 | 5 => client.request(Method::CreatePermission, write),
            6 | 7 => client.request(Method::ChannelBind, write),
            8 => client.send(peer, b"payload"),
            _ => {
                let channel = u16::try_from(channel).unwrap().to_be_bytes();
                [&channel[..], &[0, 4], b"data"].concat()
            }
        }
    }

    fn break_it(&mut self, bytes: &mut Vec<u8>) {
        let rng = &mut self.rng;
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len().max(1));
            match rng.u8(..5) {
                0 => bytes.truncate(at.max(1)),
                1 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
                2 if at < bytes.len() => bytes[at] = rng.u8(..),
                3 => bytes.insert(at.min(bytes.len()), rng.u8(..)),
                _ => {
                    let tail = bytes[at.min(bytes.len())..].to_vec();
                    bytes.extend(tail);
                }
            }
        }
        // Most corrupted messages would fail at the length field.
        if bytes.len() >= 20 && bytes[0] < 0x40 && rng.bool() {
            bytes.truncate(20 + (bytes.len() - 20) / 4 * 4);
            let length = u16::try_from(bytes.len() - 20).unwrap_or(u16::MAX);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn a_relayed_address(&mut self) -> SocketAddr {
        match self.open.is_empty() || self.rng.u8(..8) == 0 {
            true => (addr(MEDIA).ip(), self.rng.u16(..)).into(),
            false => self.open[self.rng.usize(..self.open.len())],
        }
    }

    fn receive_from_peer(&mut self) {
        let relayed = self.a_relayed_address();
        let peer = addr(PEERS[self.rng.usize(..PEERS.len())]);
        let data = [1; 9];
        let now = self.rig.now.instant;
        if let Ok(deliver) = self.rig.server.handle_peer(now, relayed, peer, &data) {
            // Sockets of both families report IPv4 peers as IPv4-mapped IPv6 addresses; the canonical form is compared.
            let plain = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            assert!([MEDIA, NODE, NODE_V6].map(addr).contains(&plain), "{plain}");
            let whole = deliver.head.len() + data.len() + deliver.padding_bytes;
            assert!(whole <= 36 + data.len() + 3 + 12);
            self.delivered += 1;
        }
    }

    /// Compares the events with the state of the server.
    fn check_events(&mut self) {
        for event in self.rig.events() {
            match event {
                Event::Open { relayed, .. } => {
                    assert!((49_152..=65_535).contains(&relayed.port()));
                    assert!(!self.open.contains(&relayed), "{relayed} twice");
                    self.open.push(relayed);
                }
                Event::Closed { relayed, .. } => {
                    let at = self.open.iter().position(|open| *open == relayed);
                    self.open
                        .swap_remove(at.expect("only what is open is closed"));
                }
                Event::SocketWanted { peer, .. } => assert_ne!(peer, addr(MEDIA).ip()),
            }
        }
        let allocations = self.rig.server.allocations();
        assert!(allocations <= MAX_ALLOCATIONS);
        assert!((allocations..=2 * allocations).contains(&self.open.len()));
        assert_eq!(self.rig.server.allocation_by_client.len(), allocations);
    }
}

#[test]
fn a_hostile_crowd_gets_nothing_it_may_not_have() {
    for seed in 1..=3 {
        let mut crowd = Crowd::new(seed);
        for _ in 0..ROUNDS {
            crowd.step();
        }
        // Otherwise the run did not test the server.
        assert!(crowd.relayed > 100, "{} relayed", crowd.relayed);
        assert!(crowd.delivered > 1_000, "{} delivered", crowd.delivered);
        assert!(crowd.answered > ROUNDS / 4, "{} answered", crowd.answered);
        crowd.rig.wait(4_000);
        crowd.rig.run_timers();
        crowd.check_events();
        assert_eq!((crowd.open.len(), crowd.rig.server.allocations()), (0, 0));
        assert_eq!(crowd.rig.server.quotas.accounts(), (0, 0));
    }
}
