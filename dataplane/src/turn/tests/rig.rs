//! A server in virtual time, and a scripted client.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use spillway_wire::stun::{Class, Key, Message, Method, TransactionId, Writer, kinds, xor_address};

use super::super::*;

pub(crate) const SECRET: &[u8] = b"a secret of the operator";
pub(crate) const REALM: &str = "spillway";
pub(crate) const START_S: u64 = 1_790_000_000;
pub(crate) const RELAY_V4: &str = "198.51.100.1";
pub(crate) const RELAY_V6: &str = "2001:db8::1";
/// Our own media port: datagrams to it stay inside the process.
pub(crate) const MEDIA: &str = "198.51.100.1:5000";
/// Media address of another node.
pub(crate) const NODE: &str = "198.51.100.2:5000";
pub(crate) const NODE_V6: &str = "[2001:db8::2]:5000";
pub(crate) const LISTENING: &str = "198.51.100.1:3478";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    Config {
        realm: REALM.into(),
        secrets: vec![SECRET.into()],
        secret_grace: Duration::from_secs(3_600),
        nonce_secret: [7; 32],
        relay: RelayAddresses {
            v4: Some(RELAY_V4.parse().unwrap()),
            v6: Some(RELAY_V6.parse().unwrap()),
            ports: 49_152..=65_535,
            except: Vec::new(),
            step: NonZeroU16::MIN,
            offset: 0,
        },
        ourselves: Ourselves {
            listening: vec![addr(LISTENING)],
            inside: vec![addr(MEDIA)],
        },
        peers: Peers::Cluster(vec![addr(MEDIA), addr(NODE), addr(NODE_V6)]),
        denied: Vec::new(),
        nat64: Vec::new(),
        limits: Limits::default(),
    }
}

pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) now: Now,
}

/// A response of the server, as owned bytes.
#[derive(Debug, Clone)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

pub(crate) struct TestClient {
    pub(crate) client: Client,
    pub(crate) username: Vec<u8>,
    pub(crate) password: String,
    pub(crate) realm: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) fingerprint: bool,
    transactions: u8,
}

/// Integrity and password algorithm of a client's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As in RFC 5389, and as all browsers do.
    Classic,
    /// With SHA-256, as in RFC 8489.
    Sha256,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        let now = Now {
            instant: Instant::now(),
            unix_s: START_S,
        };
        let rng = fastrand::Rng::with_seed(1);
        let server = Server::new(config, now.instant, rng).unwrap();
        Self { server, now }
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix_s += seconds;
    }

    /// Runs due timers, as the shard does.
    pub(crate) fn run_timers(&mut self) {
        while self
            .server
            .poll_timeout()
            .is_some_and(|at| at <= self.now.instant)
        {
            self.server.handle_timeout(self.now.instant);
        }
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    pub(crate) fn handle(&mut self, client: &Client, bytes: &[u8]) -> Outcome<'_> {
        self.server.handle_client(self.now, client, bytes)
    }

    /// The response to `bytes`, which must exist.
    pub(crate) fn answer(&mut self, client: &Client, bytes: &[u8]) -> Answer {
        match self.handle(client, bytes) {
            Outcome::Reply(reply) => Answer(reply.to_vec()),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The response to an authenticated request.
    pub(crate) fn ask(
        &mut self,
        client: &mut TestClient,
        method: Method,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Answer {
        let request = client.request(method, write);
        self.answer(&client.client, &request)
    }

    /// Gets a nonce for `client` from a 401 response.
    pub(crate) fn greet(&mut self, client: &mut TestClient) {
        let hello = client.unsigned(Method::Allocate, udp);
        let answer = self.answer(&client.client, &hello);
        assert_eq!(answer.code(), Some(401));
        client.nonce = answer.get(kinds::NONCE).unwrap();
        client.realm = answer.get(kinds::REALM).unwrap();
    }

    /// A client with an allocation, and the relayed address.
    pub(crate) fn allocated(&mut self, remote: &str) -> (TestClient, SocketAddr) {
        let mut client = TestClient::new(remote);
        let relayed = self.allocate(&mut client);
        (client, relayed)
    }

    pub(crate) fn allocate(&mut self, client: &mut TestClient) -> SocketAddr {
        self.greet(client);
        let answer = self.ask(client, Method::Allocate, udp);
        answer.expect(Class::Success);
        answer.address(kinds::XOR_RELAYED_ADDRESS).unwrap()
    }

    pub(crate) fn permit(&mut self, client: &mut TestClient, peer: &str) -> Answer {
        self.ask(client, Method::CreatePermission, |writer| {
            writer.xor_address(kinds::XOR_PEER_ADDRESS, addr(peer));
        })
    }

    pub(crate) fn bind(&mut self, client: &mut TestClient, number: u16, peer: &str) -> Answer {
        self.ask(client, Method::ChannelBind, |writer| {
            writer
                .number(kinds::CHANNEL_NUMBER, u32::from(number) << 16)
                .xor_address(kinds::XOR_PEER_ADDRESS, addr(peer));
        })
    }

    pub(crate) fn refresh(&mut self, client: &mut TestClient, seconds: u32) -> Answer {
        self.ask(client, Method::Refresh, |writer| {
            writer.number(kinds::LIFETIME, seconds);
        })
    }

    /// Result of a Send indication to `peer`.
    pub(crate) fn send(
        &mut self,
        client: &mut TestClient,
        peer: &str,
    ) -> Result<Relay, DenyReason> {
        let bytes = client.send(addr(peer), b"data");
        self.relay(&client.client, &bytes)
    }

    pub(crate) fn relay(&mut self, client: &Client, bytes: &[u8]) -> Result<Relay, DenyReason> {
        match self.handle(client, bytes) {
            Outcome::Relay(relay) => Ok(relay),
            Outcome::Silent(reason) => Err(reason),
            Outcome::Reply(_) => panic!("data was answered"),
        }
    }
}

impl TestClient {
    pub(crate) fn new(remote: &str) -> Self {
        Self::user(remote, "alice")
    }

    pub(crate) fn user(remote: &str, user: &str) -> Self {
        let mut client = Self {
            client: Client::udp(addr(remote), addr(LISTENING)),
            username: Vec::new(),
            password: String::new(),
            realm: REALM.into(),
            nonce: Vec::new(),
            mode: Mode::Classic,
            fingerprint: false,
            transactions: 0,
        };
        client.mint(format!("{}:{user}", START_S + 3_600).as_bytes(), SECRET);
        client
    }

    /// Creates credentials for the client, as the control plane does.
    pub(crate) fn mint(&mut self, username: &[u8], secret: &[u8]) {
        let mut mac: Hmac<Sha1> = Hmac::new_from_slice(secret).unwrap();
        mac.update(username);
        self.username = username.to_vec();
        let mut password = [0; 28];
        let mac = mac.finalize().into_bytes();
        STANDARD.encode_slice(mac, &mut password).unwrap();
        self.password = String::from_utf8(password.to_vec()).unwrap();
    }

    pub(crate) fn unsigned(
        &mut self,
        method: Method,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = self.start(&mut out, method.kind(Class::Request));
        write(&mut writer);
        if self.fingerprint {
            writer.fingerprint();
        }
        out
    }

    pub(crate) fn request(
        &mut self,
        method: Method,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let (username, realm, nonce) = (
            self.username.clone(),
            self.realm.clone(),
            self.nonce.clone(),
        );
        let (mode, key, fingerprint) = (self.mode, self.key(), self.fingerprint);
        let mut writer = self.start(&mut out, method.kind(Class::Request));
        write(&mut writer);
        writer
            .attribute(kinds::USERNAME, &username)
            .attribute(kinds::REALM, &realm)
            .attribute(kinds::NONCE, &nonce);
        match mode {
            Mode::Classic => writer.integrity_sha1(key.bytes()),
            Mode::Sha256 => writer
                .attribute(kinds::PASSWORD_ALGORITHMS, &auth::PASSWORD_ALGORITHMS)
                .attribute(kinds::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
                .integrity_sha256(key.bytes()),
        };
        if fingerprint {
            writer.fingerprint();
        }
        out
    }

    pub(crate) fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.start(&mut out, Method::Send.kind(Class::Indication))
            .xor_address(kinds::XOR_PEER_ADDRESS, peer)
            .attribute(kinds::DATA, data);
        out
    }

    pub(crate) fn key(&self) -> Key {
        let make = match self.mode {
            Mode::Classic => Key::md5,
            Mode::Sha256 => Key::sha256,
        };
        make(&self.username, &self.realm, self.password.as_bytes())
    }

    fn start<'a>(&mut self, out: &'a mut Vec<u8>, kind: u16) -> Writer<'a> {
        self.transactions += 1;
        Writer::new(out, kind, TransactionId([self.transactions; 12]))
    }
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(&self, class: Class) {
        assert_eq!(Class::of(self.message().kind()), class, "{:?}", self.code());
    }

    pub(crate) fn code(&self) -> Option<u16> {
        let value = self.get(kinds::ERROR_CODE)?;
        Some(u16::from(value[2]) * 100 + u16::from(value[3]))
    }

    pub(crate) fn get(&self, kind: u16) -> Option<Vec<u8>> {
        let attribute = self.message().find(kind)?;
        Some(attribute.value.to_vec())
    }

    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().unwrap()))
    }

    pub(crate) fn address(&self, kind: u16) -> Option<SocketAddr> {
        xor_address(&self.get(kind)?, &self.message().transaction())
    }

    pub(crate) fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        let message = self.message();
        let all = message
            .attributes()
            .filter(|attribute| attribute.kind == kind);
        all.map(|attribute| xor_address(attribute.value, &message.transaction()).unwrap())
            .collect()
    }
}

/// REQUESTED-TRANSPORT: UDP, which every Allocate needs.
pub(crate) fn udp(writer: &mut Writer<'_>) {
    writer.attribute(kinds::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}
