//! Hostile participants with real sessions, and what their attacks cost the calls of other
//! participants.
//!
//! Their clients expose the keys of the DTLS handshake, so that forged packets are authentic.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use spillway_bench::link::Link;
use spillway_dataplane::dtls::{self, Handshake};
use spillway_dataplane::srtp::{AeadChoice, Sealer};
use spillway_wire::dataplane as proto;
use spillway_wire::stun::{self, kinds};

use crate::call::{Publisher, Subscriber, connect, run, run_until};
use crate::clock::TimeLimit;
use crate::node::Node;

/// What an attacker needs to send packets of its session.
pub struct AttackerSession {
    /// Socket of the session.
    pub socket: UdpSocket,
    /// SRTP context of the session.
    pub sealer: Sealer,
    /// Media port of the data plane.
    pub server: SocketAddr,
    /// An SSRC of media that the server sends to it; 0 for publishers.
    pub media_ssrc: u32,
    /// The server's ufrag and password, and the client's ufrag (RFC 8445).
    pub credentials: (String, String, String),
    /// Mid of the publisher's audio m-line, and its payload type.
    pub audio: (String, u8),
}

/// A data plane with calls, and sessions of an attacker.
pub struct AttackedNode {
    /// Data plane under attack.
    pub node: Node,
    /// Publishers of the calls that must not be affected.
    pub publishers: Vec<Publisher>,
    /// Subscribers of the calls that must not be affected.
    pub subscribers: Vec<Subscriber>,
    hostile_publishers: Vec<Publisher>,
    hostile_subscribers: Vec<Subscriber>,
    /// Number of the first counted packet of each publisher.
    first: Vec<u32>,
}

/// Effect of a flood.
#[derive(Debug, Clone, Copy)]
pub struct FloodEffect {
    /// Share of packets that other participants lost.
    pub loss: f64,
    /// CPU time of the data plane.
    pub cpu: Duration,
    /// Sent UDP payload in bytes.
    pub bytes: u64,
}

/// Name of the session that publishes simulcast layers.
const LAYERED: &str = "layered";
const JOIN_LIMIT: Duration = Duration::from_secs(20);
/// Interval between the bursts of a flood.
const BURST_EVERY: Duration = Duration::from_millis(2);
/// Size of the IPv4 and UDP headers.
const HEADER_BYTES: usize = 28;

impl AttackedNode {
    /// Starts `calls` calls, each with one publisher and one subscriber.
    pub async fn start(calls: usize) -> anyhow::Result<Self> {
        let mut node = Node::start(1, &[]).await?;
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for call in 0..calls {
            let name = format!("speaker-{call}");
            publishers.push(Publisher::start(&mut node, &name, false).await?);
            let track = format!("{name}-video");
            let tracks = [(&*track, proto::Kind::Video)];
            let name = format!("listener-{call}");
            subscribers.push(Subscriber::start(&mut node, &name, &tracks).await?);
        }
        connect(&mut node, &mut publishers, &mut subscribers, 1).await?;
        // A publisher with simulcast layers, so that bandwidth estimation runs for the attackers.
        publishers.push(Publisher::start(&mut node, LAYERED, true).await?);
        Ok(Self {
            node,
            publishers,
            subscribers,
            hostile_publishers: Vec::new(),
            hostile_subscribers: Vec::new(),
            first: Vec::new(),
        })
    }

    /// Starts `count` hostile subscribers to the first publisher.
    pub async fn hostile_subscribers(
        &mut self,
        count: usize,
    ) -> anyhow::Result<Vec<AttackerSession>> {
        let mut attackers = Vec::new();
        for number in 0..count {
            let name = format!("hostile-listener-{number}");
            let link = Link::with_crypto(Instant::now(), dtls::provider(AeadChoice::Library));
            let handshake = Handshake::take_created().context("no handshake")?;
            let track = format!("{LAYERED}-video");
            let tracks = [(&*track, proto::Kind::Video)];
            let mut hostile = Subscriber::start_on(&mut self.node, &name, &tracks, link).await?;
            let limit_left = TimeLimit::new(JOIN_LIMIT);
            let sealer = loop {
                anyhow::ensure!(!limit_left.is_over(), "an attacker does not come in");
                hostile.step(&mut self.node, Instant::now()).await?;
                if let Some(keys) = handshake.take_keys() {
                    break keys.sealer;
                }
                self.step(Duration::from_millis(1)).await?;
            };
            let media_ssrc = loop {
                anyhow::ensure!(!limit_left.is_over(), "an attacker gets no media");
                hostile.step(&mut self.node, Instant::now()).await?;
                if let Some(ssrc) = hostile.last_ssrc {
                    break ssrc;
                }
                self.step(Duration::from_millis(1)).await?;
            };
            attackers.push(AttackerSession {
                socket: hostile.link.raw_socket()?,
                sealer,
                server: hostile.link.server_addr().context("no server")?,
                media_ssrc,
                credentials: credentials(&hostile.offer, &hostile.answer)?,
                audio: (String::new(), 0),
            });
            self.hostile_subscribers.push(hostile);
        }
        Ok(attackers)
    }

    /// Starts `count` hostile publishers.
    pub async fn hostile_publishers(
        &mut self,
        count: usize,
    ) -> anyhow::Result<Vec<AttackerSession>> {
        let mut attackers = Vec::new();
        for number in 0..count {
            let name = format!("hostile-speaker-{number}");
            let link = Link::with_crypto(Instant::now(), dtls::provider(AeadChoice::Library));
            let handshake = Handshake::take_created().context("no handshake")?;
            let mut hostile = Publisher::start_on(&mut self.node, &name, false, link).await?;
            let limit_left = TimeLimit::new(JOIN_LIMIT);
            let sealer = loop {
                anyhow::ensure!(!limit_left.is_over(), "an attacker does not come in");
                hostile.step(Instant::now()).await?;
                if let Some(keys) = handshake.take_keys() {
                    break keys.sealer;
                }
                self.step(Duration::from_millis(1)).await?;
            };
            let audio = hostile.mids().into_iter().next();
            attackers.push(AttackerSession {
                socket: hostile.link.raw_socket()?,
                sealer,
                server: hostile.link.server_addr().context("no server")?,
                media_ssrc: 0,
                credentials: credentials(&hostile.answer, &hostile.offer)?,
                audio: audio.context("it publishes nothing")?,
            });
            self.hostile_publishers.push(hostile);
        }
        Ok(attackers)
    }

    /// Continues the calls for `time`.
    pub async fn step(&mut self, time: Duration) -> anyhow::Result<()> {
        let Self {
            node,
            publishers,
            subscribers,
            ..
        } = self;
        run(node, publishers, subscribers, time).await
    }

    /// Continues the calls for `time` during `flood`. Returns losses and CPU time.
    pub async fn run_with_flood(
        &mut self,
        flood: Flood,
        time: Duration,
    ) -> anyhow::Result<FloodEffect> {
        self.start_counting();
        let before = self.node.cpu_time()?;
        let began = Instant::now();
        let flood = flood.start();
        self.step(time).await?;
        let bytes = flood.stop()?;
        let cpu = self.node.cpu_time()? - before;
        anyhow::ensure!(began.elapsed() >= time, "the flood was too short");
        Ok(FloodEffect {
            loss: self.loss().await?,
            cpu,
            bytes,
        })
    }

    /// Packets sent so far are not counted.
    pub fn start_counting(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.received.clear();
        }
        let next = |publisher: &Publisher| last_sent(publisher) + 1;
        self.first = self.publishers.iter().map(next).collect();
    }

    /// Share of packets lost since [`start_counting`](Self::start_counting).
    pub async fn loss(&mut self) -> anyhow::Result<f64> {
        // Wait for packets in flight.
        let Self {
            node,
            publishers,
            subscribers,
            ..
        } = self;
        let last: Vec<u32> = publishers.iter().map(last_sent).collect();
        let all_came = |subscribers: &[Subscriber]| {
            let mut both = subscribers.iter().zip(&last);
            both.all(|(subscriber, last)| lost_of(subscriber, (*last, *last)) == 0)
        };
        run_until(
            node,
            publishers,
            subscribers,
            Duration::from_secs(2),
            all_came,
        )
        .await?;
        let ranges = self.first.iter().copied().zip(last);
        let (mut lost, mut expected) = (0, 0);
        for (subscriber, (first, last)) in self.subscribers.iter().zip(ranges) {
            anyhow::ensure!(last > first, "a speaker said nothing");
            expected += last - first + 1;
            lost += lost_of(subscriber, (first, last));
        }
        Ok(f64::from(lost) / f64::from(expected))
    }
}

impl FloodEffect {
    /// CPU time per byte in ns, minus that of `control` in the same time.
    pub fn ns_per_byte(&self, control: &FloodEffect) -> f64 {
        let cpu = self.cpu.saturating_sub(control.cpu);
        cpu.as_nanos() as f64 / self.bytes.max(1) as f64
    }
}

/// Writes a numbered datagram into the buffer, and returns the index of the sending socket.
pub type NextDatagram = Box<dyn FnMut(u64, &mut Vec<u8>) -> usize + Send>;

/// Datagrams at a fixed rate.
pub struct Flood {
    /// Address that the datagrams go to.
    pub target: SocketAddr,
    /// Rate on the wire in bit/s.
    pub bps: u64,
    /// Function that makes the next datagram.
    pub next: NextDatagram,
    /// Sockets that send the datagrams.
    pub sockets: Vec<UdpSocket>,
}

/// A flood that sends in its own thread.
pub struct RunningFlood {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// A flood without datagrams, for comparison.
    pub fn none() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        Ok(Self {
            target: socket.local_addr()?,
            bps: 0,
            next: Box::new(|_, _| 0),
            sockets: vec![socket],
        })
    }

    fn start(mut self) -> RunningFlood {
        let stop = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let (mut number, mut wire_bytes) = (0, 0_u64);
            let mut datagram = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let due = self.bps as f64 / 8.0 * start.elapsed().as_secs_f64();
                while (wire_bytes as f64) < due {
                    datagram.clear();
                    let from = (self.next)(number, &mut datagram);
                    number += 1;
                    wire_bytes += (datagram.len() + HEADER_BYTES) as u64;
                    // A full send buffer slows the flood down.
                    if self.sockets[from].send_to(&datagram, self.target).is_ok() {
                        counted.fetch_add(datagram.len() as u64, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(BURST_EVERY);
            }
        });
        RunningFlood {
            stop,
            bytes,
            thread,
        }
    }
}

impl RunningFlood {
    fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow::anyhow!("the flood panicked"))?;
        Ok(self.bytes.load(Ordering::Relaxed))
    }
}

/// A connectivity check with these [credentials](AttackerSession::credentials), and additional attributes
/// `more`.
pub fn check(credentials: &(String, String, String), more: &[(u16, &[u8])]) -> Vec<u8> {
    let (ufrag, password, remote) = credentials;
    let transaction = stun::TransactionId(std::array::from_fn(|_| fastrand::u8(..)));
    let mut out = Vec::new();
    let mut writer = stun::Writer::new(&mut out, stun::BINDING_REQUEST, transaction);
    writer
        .attribute(kinds::USERNAME, format!("{ufrag}:{remote}").as_bytes())
        .attribute(kinds::ICE_CONTROLLING, &[7; 8])
        .number(kinds::PRIORITY, 1);
    for (kind, value) in more {
        writer.attribute(*kind, value);
    }
    writer.integrity_sha1(password.as_bytes()).fingerprint();
    out
}

/// Reads the server's ufrag and password, and the client's ufrag, from their SDPs.
fn credentials(server: &str, client: &str) -> anyhow::Result<(String, String, String)> {
    let value = |sdp: &str, name: &str| {
        let found = sdp.lines().find_map(|line| line.strip_prefix(name));
        found
            .map(str::to_owned)
            .with_context(|| format!("no {name}"))
    };
    Ok((
        value(server, "a=ice-ufrag:")?,
        value(server, "a=ice-pwd:")?,
        value(client, "a=ice-ufrag:")?,
    ))
}

/// Number of the last video packet that was sent.
fn last_sent(publisher: &Publisher) -> u32 {
    let sent = publisher.sent(str0m::media::MediaKind::Video);
    sent.saturating_sub(1)
}

/// Number of packets from `first` to `last` that did not arrive.
fn lost_of(subscriber: &Subscriber, (first, last): (u32, u32)) -> u32 {
    let arrivals = subscriber.received.values().flatten();
    let came: HashSet<u32> = arrivals.map(|arrival| arrival.counter).collect();
    (first..=last)
        .filter(|counter| !came.contains(counter))
        .count() as u32
}
