//! One peer connection over a UDP socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::CryptoProvider;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;

use crate::media::Stamp;

/// A peer connection, its socket once the server's addresses are known, and its outputs.
pub struct Link {
    /// The session layer of the client.
    pub rtc: Rtc,
    socket: Option<UdpSocket>,
    /// Address of the socket as the session layer knows it; after a rebinding the socket has another one.
    believed: Option<SocketAddr>,
    server: Option<SocketAddr>,
    deadline: Instant,
    /// Media that was received but not read by the caller.
    received: Vec<RtpPacket>,
    /// m-lines for which the server requested a keyframe.
    pub keyframes_wanted: Vec<Mid>,
    /// True when the DTLS handshake is done.
    pub connected: bool,
}

const MAX_DATAGRAM_BYTES: usize = 2_048;

impl Link {
    /// A link that is not connected.
    pub fn new(now: Instant) -> Self {
        Self::with_crypto(now, str0m::crypto::from_feature_flags())
    }

    /// A link that is not connected and encrypts with `crypto`.
    pub fn with_crypto(now: Instant, crypto: CryptoProvider) -> Self {
        let crypto = std::sync::Arc::new(crypto);
        let rtc = RtcConfig::new()
            .set_crypto_provider(crypto)
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(now);
        Self {
            rtc,
            socket: None,
            believed: None,
            server: None,
            deadline: now,
            received: Vec::new(),
            keyframes_wanted: Vec::new(),
            connected: false,
        }
    }

    /// An offer to send one track of each kind.
    pub fn offer(&mut self) -> anyhow::Result<(SdpOffer, SdpPendingOffer, Mid, Mid)> {
        let mut api = self.rtc.sdp_api();
        let audio = api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let video = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = api.apply().context("two new m-lines have to be offered")?;
        Ok((offer, pending, audio, video))
    }

    /// Handles the SDP answer of the server.
    pub async fn accept_answer(
        &mut self,
        pending: SdpPendingOffer,
        sdp: &str,
    ) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(sdp)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        self.open_socket(sdp).await
    }

    /// Handles the server's offer. Returns our answer.
    pub async fn accept_offer(&mut self, sdp: &str) -> anyhow::Result<String> {
        let offer = SdpOffer::from_sdp_string(sdp)?;
        let answer = self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
        self.open_socket(sdp).await?;
        Ok(answer)
    }

    /// Payload type of sent media: one codec per kind.
    pub fn payload_type(&self, kind: MediaKind) -> Option<Pt> {
        let codec = match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        };
        let mut codecs = self.rtc.codec_config().iter();
        let params = codecs.find(|params| params.spec().codec == codec)?;
        Some(params.pt())
    }

    /// Synthetic media received since the last call: m-line and stamp.
    pub fn take_received(&mut self) -> Vec<(Mid, Stamp, RtpPacket)> {
        let received = std::mem::take(&mut self.received);
        let mut api = self.rtc.direct_api();
        let read = |packet: RtpPacket| {
            let stamp = Stamp::read(&packet.payload)?;
            let stream = api.stream_rx(&packet.header.ssrc)?;
            Some((stream.mid(), stamp, packet))
        };
        received.into_iter().filter_map(read).collect()
    }

    /// Time of the next [`tick`](Self::tick).
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Handles timers, and sends due media.
    pub async fn tick(&mut self, now: Instant) -> anyhow::Result<()> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.drain().await
    }

    /// Waits until datagrams can be received. Does not return before the socket is open.
    pub async fn readable(&self) {
        match &self.socket {
            // An error is readable, too: the receive reports it.
            Some(socket) => drop(socket.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Receives the datagrams that have arrived.
    pub async fn receive(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        while let Some(socket) = &self.socket
            && let Ok((length, source)) = socket.try_recv_from(&mut buffer)
        {
            let destination = self.believed.expect("set together with the socket");
            let now = Instant::now();
            let receive = Receive::new(Protocol::Udp, source, destination, &buffer[..length])?;
            self.rtc.handle_input(Input::Receive(now, receive))?;
            self.drain().await?;
        }
        Ok(())
    }

    /// Continues from another port without informing the session layer, like a client behind a NAT that lost its
    /// mapping.
    pub async fn rebind(&mut self) -> anyhow::Result<()> {
        let socket = self.socket.as_ref().context("nothing is bound yet")?;
        let ip = socket.local_addr()?.ip();
        self.socket = Some(UdpSocket::bind((ip, 0)).await?);
        Ok(())
    }

    /// Local address of the socket, once it exists.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.local_addr().ok()
    }

    /// A duplicate of the socket, to send other datagrams than the session layer's.
    pub fn raw_socket(&self) -> anyhow::Result<std::net::UdpSocket> {
        let socket = self.socket.as_ref().context("nothing is bound yet")?;
        Ok(socket.as_fd().try_clone_to_owned()?.into())
    }

    /// The address of the server, once it is known.
    pub fn server_addr(&self) -> Option<SocketAddr> {
        self.server
    }

    /// Sends `datagram` as it is, from this link's address to the server's.
    pub async fn inject(&self, datagram: &[u8]) -> anyhow::Result<()> {
        let socket = self.socket.as_ref().context("nothing is bound yet")?;
        let server = self
            .server
            .context("the server's address is not known yet")?;
        socket.send_to(datagram, server).await?;
        Ok(())
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline.min(Instant::now() + Duration::from_secs(1));
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    if let Some(socket) = &self.socket {
                        // A full send buffer counts as loss.
                        let _ = socket
                            .send_to(&transmit.contents, transmit.destination)
                            .await;
                    }
                }
                Output::Event(Event::RtpPacket(packet)) => self.received.push(packet),
                Output::Event(Event::KeyframeRequest(request)) => {
                    self.keyframes_wanted.push(request.mid);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
            }
        }
    }

    /// Binds to the local address from which the server's first candidate is reached.
    async fn open_socket(&mut self, sdp: &str) -> anyhow::Result<()> {
        if self.socket.is_some() {
            return Ok(());
        }
        let mut error = anyhow::anyhow!("the server's SDP names no candidate");
        for server in candidates(sdp) {
            match local_ip_towards(server).await {
                Ok(ip) => {
                    let socket = UdpSocket::bind((ip, 0)).await?;
                    let addr = socket.local_addr()?;
                    self.rtc.add_local_candidate(Candidate::host(addr, "udp")?);
                    self.server = Some(server);
                    (self.socket, self.believed) = (Some(socket), Some(addr));
                    return self.tick(Instant::now()).await;
                }
                Err(unreachable) => error = unreachable,
            }
        }
        Err(error)
    }
}

fn candidates(sdp: &str) -> impl Iterator<Item = SocketAddr> {
    sdp.lines().filter_map(|line| {
        // candidate-attribute: foundation component transport priority address port (RFC 8839 5.1)
        let mut fields = line
            .strip_prefix("a=candidate:")?
            .split_ascii_whitespace()
            .skip(4);
        Some(SocketAddr::new(
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        ))
    })
}

async fn local_ip_towards(server: SocketAddr) -> anyhow::Result<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe
        .connect(server)
        .await
        .with_context(|| format!("no route to media address {server}"))?;
    Ok(probe.local_addr()?.ip())
}
