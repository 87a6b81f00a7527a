//! TURN on this shard: the server, its sockets and its relayed addresses.

use std::net::SocketAddr;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::io::relay_sockets::RelaySockets;
use crate::io::route::OwnWatched;
use crate::report::ShardReport;
use crate::send::queue::{Datagrams, Run, SendQueues};
use crate::stream::Streams;
use crate::turn::{Client, Deliver, DenyReason, HostAddresses, Server};

/// See the module's documentation.
pub struct TurnService {
    pub(crate) server: Server,
    /// What TURN's clients are told is ours.
    pub(crate) port: u16,
    pub(crate) sockets: RelaySockets,
    pub(crate) out: ClientQueues,
    /// The host's own addresses, where the server needs them.
    pub(crate) own: Option<OwnWatched>,
}

/// Datagrams for clients that did not come over a stream.
#[derive(Default)]
pub(crate) struct ClientQueues(SendQueues);

impl TurnService {
    /// A server that clients reach at `port`.
    pub fn new(server: Server, port: u16) -> std::io::Result<Self> {
        Ok(Self {
            server,
            port,
            sockets: RelaySockets::new()?,
            out: ClientQueues::default(),
            own: None,
        })
    }

    /// Keeps clients from the host's own addresses, of which there may be others later.
    pub fn watch_host(&mut self, own: OwnWatched) {
        self.own = Some(own);
        self.refresh_host();
    }

    /// Tells the server of the host's newest addresses: one comparison while there are none.
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

    /// The server, to be asked things that take time otherwise.
    #[cfg(test)]
    pub(crate) fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Becomes readable when a peer outside this process has sent something.
    pub fn sockets(&self) -> &RelaySockets {
        &self.sockets
    }

    /// Sends what waits for peers outside this process; what is for clients waits in [`queues`](Self::queues).
    pub fn flush_peers(&mut self, report: &mut ShardReport) {
        let refused = self.sockets.flush();
        report.drops.count_many(DropReason::SendRefused, refused);
    }

    /// What waits for clients.
    pub fn queues(&mut self) -> &mut SendQueues {
        &mut self.out.0
    }

    /// Gives each of `datagrams`, which a peer at `peer` sends to a relayed address, to its client.
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
    /// Sends a message of `parts`.
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
            bytes: 0, // as many as are joined
            segment_bytes: 0,
            destination: client.remote,
            source: is_known.then_some(client.local.ip()),
            arrived,
        };
        self.0.to(client.remote).join(parts, run, report);
    }

    /// Sends a peer's datagram, if the server lets it in.
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
