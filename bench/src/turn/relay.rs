//! Frames of packets from clients to a peer and back, at fixed times: through a relay, or directly to measure the path
//! without one.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;
use spillway_wire::turn::ChannelData;

use super::client::{self, Goal};
use super::crowd::{self, Arrival, Crowd, RelayServer};
use super::payload::{self, PAYLOAD_BYTES, Stamp};
use crate::host::process::{self, Pid};
use crate::net::sequence::Sequence;
use crate::net::socket::{FarmSocket, Traffic};

/// Sent media: each client sends and receives frames of `frame_packets` packets.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Video frames per second and client.
    pub frames_per_second: u32,
    /// Packets per frame, sent one after another.
    pub frame_packets: u16,
    /// Duration of the measured window.
    pub time: Duration,
}

/// Clients and their peer.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The TURN server and its process; `None` without a relay.
    pub relay: Option<(RelayServer<'a>, Pid)>,
    /// Number and rate of the clients.
    pub arrival: Arrival,
    /// Address of the peer that clients send to.
    pub peer: SocketAddrV4,
}

/// Result of a window.
#[derive(Debug)]
pub struct Window {
    /// Packets sent in both directions.
    pub sent: u64,
    /// Packets that arrived in both directions.
    pub delivered: u64,
    /// Packets that arrived at the peer.
    pub delivered_to_peer: u64,
    /// CPU time (user and system) of the TURN server, in seconds.
    pub cpu_seconds: f64,
    /// Time from before the send to the kernel's receipt at the other side, in ns.
    pub latency_ns: Histogram<u64>,
    /// Maximum delay of a frame against its schedule.
    pub late: Duration,
}

/// The sockets of clients and peer, with their counters.
struct Both<'a> {
    clients: FarmSocket,
    peer: FarmSocket,
    /// Relayed address of each client, to which the peer sends.
    relayed: Vec<SocketAddrV4>,
    crowd: Option<Crowd>,
    parties: Parties<'a>,
    /// For each client: packets towards the peer, and back.
    seen: Vec<[Sequence; 2]>,
    latency_ns: Histogram<u64>,
    numbers: Vec<u16>,
    out: Vec<u8>,
}

/// Time after the last frame for packets on the network.
const DRAIN: Duration = Duration::from_millis(300);
/// Maximum sleep before both sockets are read again.
const TICK: Duration = Duration::from_micros(500);

/// Measures one window of relayed packets.
pub fn measure(parties: Parties<'_>, stream: Stream) -> anyhow::Result<Window> {
    let mut both = Both::new(parties)?;
    let pid = parties.relay.map(|(_, pid)| pid);
    let before = pid.map(process::usage).transpose()?;
    let clients = parties.arrival.clients;
    let per_second = u64::from(stream.frames_per_second) * clients as u64;
    let frames = stream.time.as_secs_f64() * per_second as f64;
    let start = Instant::now();
    let mut late = Duration::ZERO;
    for frame in 0..frames as u64 {
        let due = start + Duration::from_secs_f64(frame as f64 / per_second as f64);
        both.listen_until(due)?;
        late = late.max(due.elapsed());
        let client = usize::try_from(frame % clients as u64).expect("a usize came in");
        both.frame(client, stream.frame_packets)?;
    }
    both.listen_until(Instant::now() + DRAIN)?;
    let after = pid.map(process::usage).transpose()?;
    let cpu_seconds = before.zip(after).map_or(0.0, |(before, after)| {
        after.cpu_seconds - before.cpu_seconds
    });
    let window = both.window(frames as u64 * u64::from(stream.frame_packets) * 2);
    both.leave()?;
    Ok(Window {
        cpu_seconds,
        late,
        ..window
    })
}

impl<'a> Both<'a> {
    fn new(parties: Parties<'a>) -> anyhow::Result<Self> {
        let mut clients = FarmSocket::bind(0, Traffic::Messages)?;
        let arrival = parties.arrival;
        let (mut crowd, mut relayed) = (None, Vec::new());
        match parties.relay {
            Some((server, _)) => {
                let goal = Goal::Channel(parties.peer);
                let arrived = crowd::arrive(&mut clients, server, arrival, goal)?;
                for client in &arrived.clients {
                    let Some(SocketAddr::V4(at)) = client.relayed() else {
                        anyhow::bail!("a client has no IPv4 address to be reached at");
                    };
                    relayed.push(at);
                }
                crowd = Some(arrived);
            }
            None => {
                let port = clients.port()?;
                let at = |number| arrival.addresses.of(arrival.address(number));
                relayed.extend((0..arrival.clients).map(|n| SocketAddrV4::new(at(n), port)));
            }
        }
        let port = parties.peer.port();
        let peer = FarmSocket::bind(port, Traffic::Messages);
        Ok(Self {
            clients,
            peer: peer.with_context(|| format!("the peer cannot have port {port}"))?,
            relayed,
            crowd,
            parties,
            seen: vec![Default::default(); arrival.clients],
            latency_ns: latencies(),
            numbers: vec![0; arrival.clients],
            out: Vec::new(),
        })
    }

    /// Sends a frame from `client`, and one to it.
    fn frame(&mut self, client: usize, packets: u16) -> anyhow::Result<()> {
        let Parties {
            relay,
            arrival,
            peer,
        } = self.parties;
        let own = arrival.addresses.of(arrival.address(client));
        for offset in 0..packets {
            self.out.clear();
            let mut to = peer;
            if let Some((server, _)) = relay {
                let length = u16::try_from(PAYLOAD_BYTES).expect("a packet is small");
                let header = ChannelData::header(client::channel(), length);
                self.out.extend(header);
                to = server.server;
            }
            self.pack(client, offset)?;
            self.clients.send(own, to, &self.out)?;
        }
        for offset in 0..packets {
            self.out.clear();
            self.pack(client, offset)?;
            self.peer
                .send(*peer.ip(), self.relayed[client], &self.out)?;
        }
        self.numbers[client] = self.numbers[client].wrapping_add(packets);
        Ok(())
    }

    /// Appends the packet that `client` sends `offset` packets from now.
    fn pack(&mut self, client: usize, offset: u16) -> anyhow::Result<()> {
        let stamp = Stamp {
            client: u32::try_from(client).expect("clients have addresses of 32 bits"),
            sequence: self.numbers[client].wrapping_add(offset),
            at: wall()?,
        };
        payload::write(&mut self.out, stamp);
        Ok(())
    }

    fn listen_until(&mut self, until: Instant) -> anyhow::Result<()> {
        loop {
            let heard = self.receive_at_clients()? + self.receive_at_peer()?;
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            if heard == 0 {
                self.clients.readable((until - now).min(TICK))?;
            }
        }
    }

    fn receive_at_peer(&mut self) -> anyhow::Result<usize> {
        let (seen, latency_ns) = (&mut self.seen, &mut self.latency_ns);
        let peer = *self.parties.peer.ip();
        Ok(self.peer.receive(|burst| {
            for datagram in burst.datagrams() {
                if burst.destination == peer {
                    note(seen, 0, datagram, burst.at, latency_ns);
                }
            }
        })?)
    }

    fn receive_at_clients(&mut self) -> anyhow::Result<usize> {
        let (seen, latency_ns) = (&mut self.seen, &mut self.latency_ns);
        let is_relayed = self.parties.relay.is_some();
        Ok(self.clients.receive(|burst| {
            for datagram in burst.datagrams() {
                let data = match is_relayed {
                    true => ChannelData::parse(datagram).map(|channel| channel.data),
                    false => Ok(datagram),
                };
                if let Ok(data) = data {
                    note(seen, 1, data, burst.at, latency_ns);
                }
            }
        })?)
    }

    fn window(&self, sent: u64) -> Window {
        let of = |way: usize| self.seen.iter().map(|seen| seen[way].received).sum::<u64>();
        Window {
            sent,
            delivered: of(0) + of(1),
            delivered_to_peer: of(0),
            cpu_seconds: 0.0,
            latency_ns: self.latency_ns.clone(),
            late: Duration::ZERO,
        }
    }

    fn leave(mut self) -> anyhow::Result<()> {
        match &mut self.crowd {
            Some(crowd) => crowd.leave(&mut self.clients),
            None => Ok(()),
        }
    }
}

fn note(
    seen: &mut [[Sequence; 2]],
    way: usize,
    data: &[u8],
    at: Duration,
    latency_ns: &mut Histogram<u64>,
) {
    let Some(stamp) = payload::read(data) else {
        return;
    };
    if let Some(seen) = seen.get_mut(stamp.client as usize) {
        seen[way].note(stamp.sequence);
        let taken = at.saturating_sub(stamp.at).as_nanos();
        latency_ns.saturating_record(u64::try_from(taken).unwrap_or(u64::MAX));
    }
}

/// An empty histogram of up to one minute.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are apart")
}

/// Time since the Unix epoch, the clock of the kernel's receive timestamps.
fn wall() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Address of the peer: the last one, which no client uses.
pub fn peer_address(arrival: &Arrival) -> Ipv4Addr {
    arrival.addresses.of(arrival.addresses.capacity() - 1)
}
