//! A TURN client over UDP that sends exactly the given requests, one at a time.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use spillway_bench::turn::client::Credentials;
use spillway_wire::stun::{Class, Key, Message, Method, TransactionId, Writer, kinds, xor_address};

/// TURN secret of the data planes in tests.
pub const SECRET: &str = "a secret of tests alone";

/// A scripted TURN client.
pub struct TurnCaller {
    /// Socket, connected to the TURN server.
    pub socket: UdpSocket,
    /// Credentials; `None`: requests are not signed.
    pub credentials: Option<Credentials>,
    /// Realm, from the server or set by the test.
    pub realm: Vec<u8>,
    /// Nonce, from the server or set by the test.
    pub nonce: Vec<u8>,
}

/// An answer of the server.
#[derive(Debug, Clone)]
pub struct Answer(pub Vec<u8>);

/// Time limit of one attempt, and number of attempts.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
const TRIES: usize = 10;

/// Wall clock, seconds since 1970.
pub fn unix_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the clock is past 1970").as_secs()
}

/// Writes REQUESTED-TRANSPORT with the value UDP.
pub fn udp(writer: &mut Writer<'_>) {
    writer.attribute(kinds::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

impl TurnCaller {
    /// A client at address `ip`, with credentials that are valid for an hour.
    pub fn new(relay: SocketAddr, ip: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.connect(relay)?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        let credentials = Credentials::mint(SECRET.as_bytes(), "test", unix_s() + 3_600);
        Ok(Self {
            socket,
            credentials: Some(credentials),
            realm: Vec::new(),
            nonce: Vec::new(),
        })
    }

    /// Sends Allocate without credentials. Keeps realm and nonce of the error.
    pub fn greet(&mut self) -> anyhow::Result<Answer> {
        let credentials = self.credentials.take();
        let answer = self.ask(Method::Allocate, udp);
        self.credentials = credentials;
        let answer = answer?;
        let value = |kind| answer.get(kind).context("a 401 has realm and nonce");
        (self.realm, self.nonce) = (value(kinds::REALM)?, value(kinds::NONCE)?);
        Ok(answer)
    }

    /// Gets a nonce, then sends Allocate.
    pub fn allocate(&mut self) -> anyhow::Result<Answer> {
        self.greet()?;
        self.ask(Method::Allocate, udp)
    }

    /// A request, signed if there are credentials and a nonce.
    pub fn request(&self, method: Method, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        let mut id = [0; 12];
        id.fill_with(|| fastrand::u8(..));
        let mut writer = Writer::new(&mut out, method.kind(Class::Request), TransactionId(id));
        write(&mut writer);
        if let Some(Credentials { username, password }) = &self.credentials {
            let key = Key::md5(username.as_bytes(), &self.realm, password.as_bytes());
            writer
                .attribute(kinds::USERNAME, username.as_bytes())
                .attribute(kinds::REALM, &self.realm)
                .attribute(kinds::NONCE, &self.nonce)
                .integrity_sha1(key.bytes());
        }
        out
    }

    /// Sends a request; returns its response.
    pub fn ask(
        &self,
        method: Method,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> anyhow::Result<Answer> {
        self.exchange(&self.request(method, write))
    }

    /// Sends `request`, repeated until there is a response.
    pub fn exchange(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let mut buffer = vec![0; 65_536];
        for _ in 0..TRIES {
            self.socket.send(request)?;
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let answer = &buffer[..length];
                if answer.get(8..20) == request.get(8..20) {
                    return Ok(Answer(answer.to_vec()));
                }
            }
        }
        anyhow::bail!("no answer after {TRIES} tries")
    }

    /// Sends a CreatePermission request for `peer`.
    pub fn permit(&self, peer: SocketAddr) -> anyhow::Result<Answer> {
        self.ask(Method::CreatePermission, |writer| {
            writer.xor_address(kinds::XOR_PEER_ADDRESS, peer);
        })
    }

    /// Sends a ChannelBind request of `number` to `peer`.
    pub fn bind(&self, number: u16, peer: SocketAddr) -> anyhow::Result<Answer> {
        self.ask(Method::ChannelBind, |writer| {
            writer
                .number(kinds::CHANNEL_NUMBER, u32::from(number) << 16)
                .xor_address(kinds::XOR_PEER_ADDRESS, peer);
        })
    }

    /// Sends a Send indication with `data` to `peer`.
    pub fn send(&self, peer: SocketAddr, data: &[u8]) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let kind = Method::Send.kind(Class::Indication);
        Writer::new(&mut out, kind, TransactionId([3; 12]))
            .xor_address(kinds::XOR_PEER_ADDRESS, peer)
            .attribute(kinds::DATA, data);
        self.socket.send(&out)?;
        Ok(())
    }
}

impl Answer {
    /// True for a success response.
    pub fn is_success(&self) -> bool {
        Message::parse(&self.0).is_ok_and(|message| Class::of(message.kind()) == Class::Success)
    }

    /// The value of the first attribute of `kind`.
    pub fn get(&self, kind: u16) -> Option<Vec<u8>> {
        Some(Message::parse(&self.0).ok()?.find(kind)?.value.to_vec())
    }

    /// The number in ERROR-CODE; `None` in a success response.
    pub fn code(&self) -> Option<u16> {
        let value = self.get(kinds::ERROR_CODE)?;
        Some(u16::from(*value.get(2)?) * 100 + u16::from(*value.get(3)?))
    }

    /// The address in XOR-RELAYED-ADDRESS, if present.
    pub fn relayed(&self) -> Option<SocketAddr> {
        let message = Message::parse(&self.0).ok()?;
        let value = message.find(kinds::XOR_RELAYED_ADDRESS)?.value;
        xor_address(value, &message.transaction())
    }
}
