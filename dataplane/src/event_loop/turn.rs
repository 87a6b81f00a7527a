//! TURN on this shard: handles messages of clients and datagrams of peers.
//!
//! Data from a client to our own media port stays inside the process: it goes to [`path::classify`] with the relayed
//! address as source. Datagrams of sessions to the relayed address are removed from the media queues before they reach
//! the kernel ([`Shard::redirect`]).

use std::net::SocketAddr;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::limits::MAX_DATAGRAM_BYTES;
use crate::mesh::message::ToControl;
use crate::path::{self, arrive::Arrived};
use crate::shard::egress::Egress;
use crate::shard::next_hop::Relayed;
use crate::shard::state::Shard;
use crate::shard::turn_service::TurnService;
use crate::turn::{Client, Event, Now, Outcome, Relay};

impl Shard {
    /// Handles a datagram from the TURN socket.
    pub(super) fn receive_turn(&mut self, datagram: &Arrived<'_>, now: Instant) {
        let Some(turn) = &self.egress.turn else {
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

    /// Handles a client's message, from any transport.
    pub(super) fn turn_message(&mut self, client: &Client, bytes: &[u8], now: Instant) {
        let Some(turn) = &mut self.egress.turn else {
            return;
        };
        let at = Now {
            instant: now,
            unix_s: self.unix_s,
        };
        turn.refresh_host();
        match turn.server.handle_client(at, client, bytes) {
            Outcome::Reply(reply) => {
                let parts = [reply, &[], &[]];
                let (streams, report) = (&mut self.egress.streams, &mut self.report);
                turn.out.send(client, parts, None, streams, report);
            }
            Outcome::Relay(relay) => self.relay(&relay, bytes, now),
            Outcome::Silent(_counted_by_the_server) => {}
        }
        self.on_turn_events(now);
    }

    /// Handles the end of a client's stream.
    pub(super) fn turn_client_gone(&mut self, client: &Client, now: Instant) {
        if let Some(turn) = &mut self.egress.turn {
            turn.server.client_gone(client);
            self.on_turn_events(now);
        }
    }

    /// Sends a client's data to a peer.
    fn relay(&mut self, relay: &Relay, message: &[u8], now: Instant) {
        let bytes = &message[relay.payload.clone()];
        if self.ice.candidates.as_slice().contains(&relay.peer) {
            // A message of a stream can be longer than a datagram of the media socket. Later code relies on that limit.
            if bytes.len() > MAX_DATAGRAM_BYTES {
                return self.report.drops.count(DropReason::Truncated);
            }
            let arrived = Arrived {
                bytes,
                source: relay.relayed,
                local: Some(relay.peer.ip()),
                inside: true,
            };
            return path::receive_datagram(self, &arrived, now);
        }
        let Some(turn) = &mut self.egress.turn else {
            return;
        };
        let sent = turn.sockets.send(relay.relayed, relay.peer, bytes);
        if let Err(error) = sent {
            tracing::trace!(%error, relayed = %relay.relayed, peer = %relay.peer, "relay");
            self.report.drops.count(DropReason::SendRefused);
        }
    }

    fn on_turn_events(&mut self, now: Instant) {
        let Some(turn) = &mut self.egress.turn else {
            return;
        };
        while let Some(event) = turn.server.poll_event() {
            match event {
                Event::Open { relayed, client } => {
                    self.egress.next_hops.insert(relayed, Relayed::Here);
                    if let Some(stream) = client.stream {
                        self.egress.streams.keep(stream, true, now);
                    }
                }
                Event::SocketWanted { relayed, .. } => {
                    if let Err(error) = turn.sockets.open(relayed) {
                        tracing::warn!(%relayed, %error, "a relayed address has no socket");
                    }
                }
                Event::Closed { relayed, client } => {
                    self.egress.next_hops.remove(relayed);
                    self.peers.forget_foreign(relayed);
                    turn.sockets.close(relayed);
                    if let Some(stream) = client.stream
                        && !turn.server.has_allocation(&client)
                    {
                        self.egress.streams.keep(stream, false, now);
                    }
                }
            }
        }
    }

    /// Receives datagrams of peers outside this process to relayed addresses. True when more may wait.
    pub(super) fn receive_relayed(&mut self, now: Instant) -> bool {
        let Self { egress, report, .. } = self;
        let Egress { turn, streams, .. } = egress;
        let Some(turn) = turn else {
            return false;
        };
        turn.refresh_host();
        let TurnService {
            server,
            sockets,
            out,
            ..
        } = &mut **turn;
        sockets.receive(|relayed, peer, datagram| {
            let delivered = server.handle_peer(now, relayed, peer, datagram);
            out.pass_on(delivered, (datagram, None), streams, report);
        })
    }

    /// Ends allocations that have expired.
    pub(super) fn turn_timeout(&mut self, now: Instant) {
        if let Some(turn) = &mut self.egress.turn
            && turn.server.poll_timeout().is_some_and(|at| at <= now)
        {
            turn.server.handle_timeout(now);
            self.on_turn_events(now);
        }
    }

    /// Sends descriptions of all allocations to the control thread.
    pub(super) fn describe_turn(&mut self, request: u64, now: Instant) {
        let turn = self.egress.turn.as_ref();
        let described = ToControl::Allocations {
            request,
            shard: self.id,
            allocations: turn.map_or_else(Vec::new, |turn| turn.server.describe(now)),
        };
        self.send_to_control(described);
    }
}
