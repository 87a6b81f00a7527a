//! ICE, the handshake and SRTP of one session: datagrams of the other side go in, plain RTP and RTCP come out, and the
//! other way round.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use spillway_dataplane::limits::MAX_SSRCS_PER_SESSION;
use spillway_dataplane::srtp::{
    AeadChoice, Keys, MasterKey, Profile, RtcpOpener, RtpOpener, Sealer, packet_index,
};
use spillway_wire::demux::{Protocol, protocol};
use spillway_wire::rtp::Received;

use super::ice::{Credentials, Ice};
use super::sdp::{Identity, Remote};
use crate::clock::Time;
use crate::dtls::{Handshake, Output, Role};
use crate::network::Datagram;
use crate::rng::Rng;

/// Transport of one session of a client.
pub struct Transport {
    /// What our SDP announces.
    pub identity: Identity,
    local: SocketAddr,
    server: Option<SocketAddr>,
    ice: Ice,
    handshake: Handshake,
    srtp: Option<Srtp>,
    is_closed: bool,
    sent: VecDeque<Datagram>,
}

/// Keys of a session after the handshake.
struct Srtp {
    sealer: Sealer,
    rtp: RtpOpener,
    rtcp: RtcpOpener,
    /// Highest packet index by SSRC.
    highest: BTreeMap<u32, u64>,
}

/// A packet of the other side, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A decrypted packet of media.
    Rtp(Rtp),
    /// A compound RTCP packet.
    Rtcp(Vec<u8>),
}

/// An RTP packet, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtp {
    /// Fields of the header.
    pub header: Received,
    /// Packet index: rollover count and sequence number.
    pub index: u64,
    /// Header and payload; padding is included.
    pub bytes: Vec<u8>,
}

impl Rtp {
    /// The payload without its padding.
    pub fn payload(&self) -> &[u8] {
        let payload = &self.bytes[self.header.length..];
        let is_padded = self.bytes[0] & 0x20 != 0;
        let padding = payload.last().copied().filter(|_| is_padded);
        let end = payload.len().saturating_sub(padding.map_or(0, usize::from));
        &payload[..end]
    }
}

impl Transport {
    /// A transport at `local` that waits for the other side's SDP.
    pub fn new(local: SocketAddr, mut rng: Rng) -> Self {
        let certificate = rng.bytes::<32>().to_vec();
        let name = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let credentials = Credentials {
            ufrag: name(&rng.bytes::<4>()),
            pwd: name(&rng.bytes::<12>()),
        };
        let random = rng.bytes();
        Self {
            identity: Identity {
                ufrag: credentials.ufrag.clone(),
                pwd: credentials.pwd.clone(),
                fingerprint: Sha256::digest(&certificate).into(),
            },
            local,
            server: None,
            ice: Ice::new(credentials, rng),
            handshake: Handshake::new(certificate, random),
            srtp: None,
            is_closed: false,
            sent: VecDeque::new(),
        }
    }

    /// Handles the other side's SDP.
    pub fn set_remote(&mut self, remote: &Remote, now: Time) {
        self.server = remote.candidate.or(self.server);
        let theirs = Credentials {
            ufrag: remote.ufrag.clone(),
            pwd: remote.pwd.clone(),
        };
        self.ice.set_remote(theirs, now);
        if remote.is_active {
            self.handshake.start(Role::Server, now.instant());
        }
    }

    /// Address that the client sends from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Address of the other side, if its SDP is known.
    pub fn server(&self) -> Option<SocketAddr> {
        self.server
    }

    /// Continues from another address.
    pub fn roam(&mut self, local: SocketAddr, now: Time) {
        self.local = local;
        self.ice.restart_checks(now);
    }

    /// True when media can be sent.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && self.ice.is_connected()
    }

    /// True when ICE has a path.
    pub fn has_path(&self) -> bool {
        self.ice.is_connected()
    }

    /// True when the keys are known.
    pub fn has_keys(&self) -> bool {
        self.srtp.is_some()
    }

    /// True when the other side closed the session.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Time of the next [`handle_timeout`](Self::handle_timeout).
    pub fn deadline(&self) -> Option<Time> {
        let handshake = self.handshake.deadline().map(Time::of);
        self.ice.deadline().into_iter().chain(handshake).min()
    }

    /// Handles timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(check) = self.ice.handle_timeout(now) {
            self.send(check);
        }
        self.handshake.handle_timeout(now.instant());
        self.shake();
    }

    /// Handles a datagram. Returns media or feedback.
    pub fn receive(&mut self, bytes: &[u8], now: Time) -> Option<Incoming> {
        match protocol(bytes)? {
            Protocol::Stun => {
                if let Some(response) = self.ice.handle_packet(bytes, now) {
                    self.send(response);
                }
                // The offerer of actpass is the server when the answer was active; otherwise we begin.
                if self.ice.is_connected() && self.handshake.role().is_none() {
                    self.handshake.start(Role::Client, now.instant());
                    self.shake();
                }
                None
            }
            Protocol::Dtls => {
                self.handshake.handle_packet(bytes, now.instant());
                self.shake();
                None
            }
            Protocol::Rtp => self.srtp.as_mut()?.open_rtp(bytes).map(Incoming::Rtp),
            Protocol::Rtcp => self.srtp.as_mut()?.open_rtcp(bytes).map(Incoming::Rtcp),
            Protocol::TurnChannel => None,
        }
    }

    /// Decrypts an RTP packet with this index, without receiving it.
    pub fn open_copy(&self, datagram: &[u8], index: u64) -> Option<Rtp> {
        self.srtp.as_ref()?.open(datagram, index)
    }

    /// Encrypts an RTP packet with `header` bytes of header. Returns the datagram, which the caller sends, maybe more than
    /// once; `None` before the handshake.
    pub fn seal_rtp(&self, packet: &[u8], header: usize, ssrc: u32, index: u64) -> Option<Vec<u8>> {
        let srtp = self.srtp.as_ref()?;
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + srtp.sealer.rtp_overhead(), 0);
        srtp.sealer.seal_rtp(&mut sealed, header, ssrc, index);
        Some(sealed)
    }

    /// Encrypts and sends a compound RTCP packet. Nothing is sent before the handshake.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        const OVERHEAD: usize = 64; // index and tag
        let Some(srtp) = &mut self.srtp else {
            return;
        };
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + OVERHEAD, 0);
        let length = srtp.sealer.seal_rtcp(&mut sealed, packet.len());
        sealed.truncate(length);
        self.send(sealed);
    }

    /// Sends a datagram as it is.
    pub fn send(&mut self, bytes: Vec<u8>) {
        if let Some(to) = self.server {
            let from = self.local;
            self.sent.push_back(Datagram { from, to, bytes });
        }
    }

    /// Closes the session and tells the other side.
    pub fn close(&mut self) {
        self.handshake.close();
        self.shake();
    }

    /// The next datagram to send.
    pub fn poll(&mut self) -> Option<Datagram> {
        self.sent.pop_front()
    }

    fn shake(&mut self) {
        while let Some(output) = self.handshake.poll() {
            match output {
                Output::Packet(bytes) => self.send(bytes),
                Output::Keys(material) => {
                    let is_client = self.handshake.role() == Some(Role::Client);
                    self.srtp = Srtp::new(&material, is_client);
                }
                Output::Closed => self.is_closed = true,
                Output::PeerCertificate(_) | Output::Connected => {}
            }
        }
    }
}

impl Srtp {
    fn new(material: &[u8], is_client: bool) -> Option<Self> {
        let (client, server) = MasterKey::split(Profile::AeadAes128Gcm, material)?;
        let (ours, theirs) = match is_client {
            true => (client, server),
            false => (server, client),
        };
        let keys = Keys::new(&ours, &theirs, AeadChoice::Library);
        Some(Self {
            sealer: keys.sealer,
            rtp: RtpOpener::new(&theirs),
            rtcp: keys.rtcp_opener,
            highest: BTreeMap::new(),
        })
    }

    fn open_rtp(&mut self, datagram: &[u8]) -> Option<Rtp> {
        let Received { ssrc, seq, .. } = Received::read(datagram)?;
        let highest = self.highest.get(&ssrc).copied();
        let rtp = self.open(datagram, packet_index(highest, seq))?;
        let latest = highest.map_or(rtp.index, |highest| highest.max(rtp.index));
        self.highest.insert(ssrc, latest);
        Some(rtp)
    }

    fn open(&self, datagram: &[u8], index: u64) -> Option<Rtp> {
        let header = Received::read(datagram)?;
        let mut bytes = datagram.to_vec();
        let opened = self
            .rtp
            .open(&mut bytes, header.length, header.ssrc, index)?;
        let length = header.length + opened.len();
        bytes.truncate(length);
        Some(Rtp {
            header,
            index,
            bytes,
        })
    }

    fn open_rtcp(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = datagram.to_vec();
        let opened = self.rtcp.open(&mut bytes, MAX_SSRCS_PER_SESSION).ok()?;
        Some(opened.to_vec())
    }
}
