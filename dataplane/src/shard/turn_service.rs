//! The TURN server of this shard with its sockets and the queues to its clients.

use std::net::SocketAddr;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::io::relay_sockets::RelaySockets;
use crate::io::route::OwnWatched;
use crate::report::ShardReport;
use crate::send::queue::{Datagrams, Run, SendQueues};
use crate::stream::Streams;
use crate::turn::{Client, Deliver, DenyReason, HostAddresses, Server};

/// TURN server of one shard, its relay sockets, and datagrams that wait for its clients.
pub struct TurnService {
    pub(crate) server: Server,
    /// Port of our address in answers to TURN clients.
    pub(crate) port: u16,
    pub(crate) sockets: RelaySockets,
    pub(crate) out: ClientQueues,
    /// Addresses of this host, which TURN clients must not reach; `None` if the server does not need them.
    pub(crate) own: Option<OwnWatched>,
}

/// Datagrams for TURN clients that use UDP.
#[derive(Default)]
pub(crate) struct ClientQueues(SendQueues);

impl TurnService {
    /// A TURN server whose clients use `port`.
    pub fn new(server: Server, port: u16) -> std::io::Result<Self> {
        Ok(Self {
            server,
            port,
            sockets: RelaySockets::new()?,
            out: ClientQueues::default(),
            own: None,
        })
    }

    /// Denies clients the host's own addresses, and follows changes of these addresses.
    pub fn watch_host(&mut self, own: OwnWatched) {
        self.own = Some(own);
        self.refresh_host();
    }

    /// Passes changed host addresses to the server. Costs one comparison if they did not change.
    pub(crate) fn refresh_host(&mut self) {
        if let Some(own) = self.own.as_mut().and_then(OwnWatched::refresh) {
            let own = HostAddresses::new(own.iter().copied());
            self.server.set_host(own);
        }
    }

    /// The TURN server's state machine.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The state machine, for tests that call it directly.
    #[cfg(test)]
    pub(crate) fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Sockets of relayed addresses; readable when a peer outside this process has sent a datagram.
    pub fn sockets(&self) -> &RelaySockets {
        &self.sockets
    }

    /// Sends the datagrams that wait for peers outside this process. Datagrams for clients wait in
    /// [`queues`](Self::queues).
    pub fn flush_peers(&mut self, report: &mut ShardReport) {
        let refused = self.sockets.flush();
        report.drops.count_many(DropReason::SendRefused, refused);
    }

    /// Datagrams that wait for clients over UDP.
    pub fn queues(&mut self) -> &mut SendQueues {
        &mut self.out.0
    }

    /// Passes `datagrams`, sent by the peer at `peer` to a relayed address, to the client of that address.
    pub(crate) fn deliver(
        &mut self,
        datagrams: Datagrams<'_>,
        peer: SocketAddr,
        now: Instant,
        streams: &mut Streams,
        report: &mut ShardReport,
    ) {
        let run = datagrams.run;
        for datagram in datagrams.iter() {
            let delivered = self
                .server
                .handle_peer(now, run.destination, peer, datagram);
            self.out
                .pass_on(delivered, (datagram, run.arrived), streams, report);
        }
    }
}

impl ClientQueues {
    /// Sends a message made of `parts` to `client`, over its stream or as a datagram.
    pub(crate) fn send(
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
        let is_known = !client.local.ip().is_unspecified();
        let run = Run {
            bytes: 0, // set when the run is complete
            segment_bytes: 0,
            destination: client.remote,
            source: is_known.then_some(client.local.ip()),
            arrived,
        };
        self.0.to(client.remote).join(parts, run, report);
    }

    /// Sends the datagram of a peer to its client, if the server permits it.
    pub(crate) fn pass_on(
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
