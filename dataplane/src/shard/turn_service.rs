//! TURN on this shard: the server, and everything by which it is reached and reaches others.
//!
//! What a client sends to our own media port never leaves the process: it goes to [`path::classify`] as if
//! it had come from the relayed address, and what sessions send there is taken out before it is handed to
//! the kernel ([`Shard::divert`]).

use std::net::SocketAddr;
use std::time::Instant;

use super::Shard;
use super::next_hop::Relayed;
use crate::drop_reason::DropReason;
use crate::io::clock;
use crate::io::engine::Engine;
use crate::io::relay_sockets::RelaySockets;
use crate::io::route::OwnWatched;
use crate::io::udp::{Door, Places};
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::mesh::message::ToControl;
use crate::path;
use crate::path::arrive::Arrived;
use crate::path::transmit::{Departures, Run};
use crate::report::ShardReport;
use crate::stream::Streams;
use crate::turn::{Client, Deliver, DenyReason, Event, HostAddresses, Now, Outcome, Relay, Server};

/// See the module's documentation.
pub struct TurnService {
    server: Server,
    /// What TURN's clients are told is ours.
    port: u16,
    reach: RelaySockets,
    out: Outlets,
    /// The host's own addresses, where the server needs them.
    own: Option<OwnWatched>,
}

/// The next_hops to clients.
struct Outlets {
    departures_v4: Departures,
    departures_v6: Departures,
}

impl TurnService {
    /// A turn whose clients know it by `port`.
    pub fn new(server: Server, port: u16) -> std::io::Result<Self> {
        Ok(Self {
            server,
            port,
            reach: RelaySockets::new()?,
            out: Outlets {
                departures_v4: Departures::new(),
                departures_v6: Departures::new(),
            },
            own: None,
        })
    }

    /// Keeps clients from the host's own addresses, of which there may be others later.
    pub fn watch_host(&mut self, own: OwnWatched) {
        self.own = Some(own);
        self.refresh_host();
    }

    /// Tells the server of the host's newest addresses: one comparison while there are none.
    fn refresh_host(&mut self) {
        if let Some(own) = self.own.as_mut().and_then(OwnWatched::refresh) {
            let own = HostAddresses::new(own.iter().copied());
            self.server.set_host(own);
        }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server, to be asked things that take time otherwise.
    #[cfg(test)]
    pub(super) fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Becomes readable when a peer outside this process has sent something.
    pub fn reach(&self) -> &RelaySockets {
        &self.reach
    }

    /// Sends what waits for clients. True when some of it still does.
    pub(super) fn flush(
        &mut self,
        engine: &mut Engine,
        places: &Places,
        report: &mut ShardReport,
    ) -> bool {
        let refused = self.reach.flush();
        report.drops.count_many(DropReason::SendRefused, refused);
        let mut waits = false;
        for (departures, is_v6) in [
            (&mut self.out.departures_v4, false),
            (&mut self.out.departures_v6, true),
        ] {
            if let Some(place) = places.of(Door::Turn, is_v6) {
                waits |= departures.flush(engine, place, report);
            }
        }
        waits
    }

    /// Gives each datagram of `run`, which a peer at `peer` sends to a relayed address, to its client.
    pub(super) fn deliver(
        &mut self,
        (run, bytes): (&Run, &[u8]),
        (peer, now): (SocketAddr, Instant),
        streams: &mut Streams,
        report: &mut ShardReport,
    ) {
        for datagram in bytes.chunks(run.segment_bytes.max(1)) {
            let delivered = self
                .server
                .handle_peer(now, run.destination, peer, datagram);
            self.out
                .pass_on(delivered, (datagram, run.arrived), streams, report);
        }
    }
}

impl Outlets {
    /// Sends a message of `parts`.
    fn send(
        &mut self,
        client: &Client,
        parts: [&[u8]; 3],
        arrived: Option<Instant>,
        streams: &mut Streams,
        report: &mut ShardReport,
    ) {
        if let Some(stream) = client.stream {
            if let Err(reason) = streams.send(stream, parts) {
                report.drops.count(reason);
            }
            return;
        }
        let departures = match client.remote {
            SocketAddr::V4(_) => &mut self.departures_v4,
            SocketAddr::V6(_) => &mut self.departures_v6,
        };
        let is_known = !client.local.ip().is_unspecified();
        let run = Run {
            bytes: 0, // as many as are joined
            segment_bytes: 0,
            destination: client.remote,
            source: is_known.then_some(client.local.ip()),
            arrived,
        };
        departures.join(parts, run, report);
    }

    /// Sends a peer's datagram, if the server lets it in.
    fn pass_on(
        &mut self,
        delivered: Result<Deliver<'_>, DenyReason>,
        (datagram, arrived): (&[u8], Option<Instant>),
        streams: &mut Streams,
        report: &mut ShardReport,
    ) {
        match delivered {
            Ok(Deliver {
                client,
                head,
                padding_bytes,
            }) => {
                let parts = [head, datagram, &[0; 4][..padding_bytes]];
                self.send(&client, parts, arrived, streams, report);
            }
            Err(_counted_by_the_server) => report.drops.count(DropReason::NotRelayed),
        }
    }
}

impl Shard {
    /// A datagram came by TURN's socket.
    pub fn from_turn_client(&mut self, datagram: &Arrived<'_>, now: Instant) {
        let Some(turn) = &self.turn else {
            return;
        };
        let unspecified = match datagram.source {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = SocketAddr::new(datagram.local.unwrap_or(unspecified), turn.port);
        let client = Client::udp(datagram.source, local);
        self.turn_message(&client, datagram.bytes, now);
    }

    /// A client's message, whatever carried it.
    pub fn turn_message(&mut self, client: &Client, bytes: &[u8], now: Instant) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        let at = Now {
            instant: now,
            unix_s: clock::unix_s(),
        };
        turn.refresh_host();
        match turn.server.handle_client(at, client, bytes) {
            Outcome::Reply(reply) => {
                let parts = [reply, &[], &[]];
                let (streams, report) = (&mut self.streams, &mut self.report);
                turn.out.send(client, parts, None, streams, report);
            }
            Outcome::Relay(relay) => self.relay(&relay, bytes, now),
            Outcome::Silent(_counted_by_the_server) => {}
        }
        self.on_turn_events(now);
    }

    /// The stream of a client has ended.
    pub(super) fn turn_client_gone(&mut self, client: &Client, now: Instant) {
        if let Some(turn) = &mut self.turn {
            turn.server.client_gone(client);
            self.on_turn_events(now);
        }
    }

    /// A client's data goes to a peer.
    fn relay(&mut self, relay: &Relay, message: &[u8], now: Instant) {
        let bytes = &message[relay.payload.clone()];
        if self.candidates.as_slice().contains(&relay.peer) {
            // Over a stream a message can be longer than what comes by a media socket, and everything behind that
            // relies on its bound.
            if bytes.len() > MAX_DATAGRAM_BYTES {
                return self.report.drops.count(DropReason::Truncated);
            }
            let arrived = Arrived {
                bytes,
                source: relay.relayed,
                local: Some(relay.peer.ip()),
                inside: true,
            };
            return path::take_in(self, &arrived, now);
        }
        let Some(turn) = &mut self.turn else {
            return;
        };
        let sent = turn.reach.send(relay.relayed, relay.peer, bytes);
        if let Err(error) = sent {
            tracing::trace!(%error, relayed = %relay.relayed, peer = %relay.peer, "relay");
            self.report.drops.count(DropReason::SendRefused);
        }
    }

    fn on_turn_events(&mut self, now: Instant) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        while let Some(event) = turn.server.poll_event() {
            match event {
                Event::Open { relayed, client } => {
                    self.next_hops.insert(relayed, Relayed::Here);
                    if let Some(stream) = client.stream {
                        self.streams.keep(stream, true, now);
                    }
                }
                Event::Reach { relayed, .. } => {
                    if let Err(error) = turn.reach.open(relayed) {
                        tracing::warn!(%relayed, %error, "a relayed address has no socket");
                    }
                }
                Event::Closed { relayed, client } => {
                    self.next_hops.remove(relayed);
                    self.peers.forget_foreign(relayed);
                    turn.reach.close(relayed);
                    if let Some(stream) = client.stream
                        && !turn.server.has_allocation(&client)
                    {
                        self.streams.keep(stream, false, now);
                    }
                }
            }
        }
    }

    /// Takes what peers outside this process sent to relayed addresses. True when more may wait.
    pub(super) fn receive_reached(&mut self, now: Instant) -> bool {
        let Self {
            turn,
            streams,
            report,
            ..
        } = self;
        let Some(turn) = turn else {
            return false;
        };
        turn.refresh_host();
        let TurnService {
            server, reach, out, ..
        } = &mut **turn;
        reach.receive(|relayed, peer, datagram| {
            let delivered = server.handle_peer(now, relayed, peer, datagram);
            out.pass_on(delivered, (datagram, None), streams, report);
        })
    }

    /// Ends allocations whose time has come.
    pub(super) fn turn_timeout(&mut self, now: Instant) {
        if let Some(turn) = &mut self.turn
            && turn.server.poll_timeout().is_some_and(|at| at <= now)
        {
            turn.server.handle_timeout(now);
            self.on_turn_events(now);
        }
    }

    /// Describes all allocations to the control thread.
    pub(super) fn describe_turn(&mut self, request: u64, now: Instant) {
        let turn = self.turn.as_ref();
        let described = ToControl::Allocations {
            request,
            shard: self.id,
            allocations: turn.map_or_else(Vec::new, |turn| turn.server.describe(now)),
        };
        if self.outbox.send_control(described).is_err() {
            tracing::warn!(
                request,
                "a description was lost: the control thread does not read"
            );
        }
    }
}
