//! Clients reached through TURN, a TCP stream or another shard. Handles their incoming messages, and removes outgoing
//! datagrams for them from the queues of the media sockets.

use std::net::SocketAddr;
use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::key::ShardId;
use crate::limits::MAX_OUTWARD_BACKLOG;
use crate::mesh::message::{OutgoingDatagrams, ToShard};
use crate::path;
use crate::path::arrive::Arrived;
use crate::report::ShardReport;
use crate::send::queue::Datagrams;
use crate::shard::egress::Egress;
use crate::shard::next_hop::{NextHop, Relayed};
use crate::shard::state::Shard;
use crate::stream::{Alias, Arrivals, Event, ShortId, Streams};
use crate::turn::StreamId;

/// A stream with its remote and local address.
#[derive(Debug, Clone, Copy)]
struct StreamEnds {
    stream: StreamId,
    remote: SocketAddr,
    local: SocketAddr,
}

impl Shard {
    /// Receives messages from streams. True when more may wait.
    pub(super) fn receive_streams(&mut self, now: Instant) -> bool {
        let mut arrivals = std::mem::take(&mut self.egress.arrivals);
        let more = self.egress.streams.poll(now, &mut arrivals);
        self.on_arrivals(&arrivals, now);
        arrivals.clear();
        self.egress.arrivals = arrivals; // keeps its allocation
        more
    }

    fn on_arrivals(&mut self, arrivals: &Arrivals, now: Instant) {
        for event in arrivals.iter() {
            match event {
                Event::Turn { client, message } => self.turn_message(&client, message, now),
                Event::Ice {
                    stream,
                    remote,
                    local,
                    datagram,
                } => self.ice_datagram(
                    StreamEnds {
                        stream,
                        remote,
                        local,
                    },
                    datagram,
                    now,
                ),
                Event::Gone { client } => {
                    self.turn_client_gone(&client, now);
                    if let Some(stream) = client.stream {
                        let alias = Alias::new(self.id, stream);
                        self.peers.forget_foreign(alias.address(client.remote));
                    }
                }
            }
        }
    }

    fn ice_datagram(&mut self, ends: StreamEnds, datagram: &[u8], now: Instant) {
        let StreamEnds {
            stream,
            remote,
            local,
        } = ends;
        let source = Alias::new(self.id, stream).address(remote);
        self.report.traffic.packets_in += 1;
        self.report.traffic.bytes_in += datagram.len() as u64;
        let arrived = Arrived {
            bytes: datagram,
            source,
            local: Some(local.ip()),
            inside: true,
        };
        path::receive_datagram(self, &arrived, now);
        // A stream stays open while a session receives from it.
        let is_known = self.peers.by_addr(source).is_some();
        self.egress.streams.keep(stream, is_known, now);
    }

    /// Removes datagrams to addresses reached through TURN, a stream or another shard from the media queues, and sends
    /// them there.
    pub(super) fn redirect(&mut self, now: Instant) {
        let Self {
            id,
            ice,
            egress,
            outbox,
            report,
            ..
        } = self;
        let Egress {
            queues,
            next_hops,
            turn,
            streams,
            ..
        } = egress;
        for (_, queue) in queues.by_family() {
            queue.take_redirected(|run, bytes| {
                let Some(next_hop) = next_hops.to(run.destination, *id) else {
                    return false;
                };
                let datagrams = Datagrams { run, bytes };
                match next_hop {
                    NextHop::Relay => {
                        let peer = ice.candidates.for_datagram(run.destination, run.source);
                        if let Some(turn) = turn {
                            turn.deliver(datagrams, peer, now, streams, report);
                        }
                    }
                    NextHop::Stream(stream) => over_stream(streams, stream, datagrams, report),
                    NextHop::Shard(shard) => {
                        let outward = OutgoingDatagrams {
                            bytes: bytes.into(),
                            run: *run,
                        };
                        let is_full = outbox.backlog(shard) >= MAX_OUTWARD_BACKLOG;
                        if is_full
                            || outbox
                                .send(shard, ToShard::OutgoingDatagrams(outward))
                                .is_err()
                        {
                            let drops = &mut report.drops;
                            drops.count_many(DropReason::MeshFull, run.datagrams());
                        }
                    }
                }
                true
            });
        }
    }

    /// Sends datagrams of another shard's session to a client that only this shard can reach.
    pub(super) fn on_outgoing_datagrams(&mut self, outward: &OutgoingDatagrams, now: Instant) {
        let OutgoingDatagrams { bytes, run } = outward;
        let datagrams = Datagrams { run, bytes };
        let (streams, report) = (&mut self.egress.streams, &mut self.report);
        match (
            self.egress.next_hops.to(run.destination, self.id),
            &mut self.egress.turn,
        ) {
            (Some(NextHop::Relay), Some(turn)) => {
                let peer = self
                    .ice
                    .candidates
                    .for_datagram(run.destination, run.source);
                turn.deliver(datagrams, peer, now, streams, report);
            }
            (Some(NextHop::Stream(stream)), _) => over_stream(streams, stream, datagrams, report),
            // The client has left, or has moved. In the second case the session receives from its new address soon.
            (Some(NextHop::Relay | NextHop::Shard(_)) | None, _) => {
                let drops = &mut report.drops;
                drops.count_many(DropReason::NotRelayed, run.datagrams());
            }
        }
    }

    /// Datagrams from the relayed address `source` arrived through shard `via`, which has its TURN client: replies must
    /// go through that shard.
    pub(super) fn set_relay_shard(&mut self, source: SocketAddr, via: ShardId) {
        if Alias::of(source).is_none() && !self.egress.next_hops.insert(source, Relayed::By(via)) {
            self.report.drops.count(DropReason::TooManyAddresses);
        }
    }
}

/// Sends each datagram of `run` over a stream, preceded by its length (RFC 4571).
fn over_stream(
    streams: &mut Streams,
    stream: ShortId,
    datagrams: Datagrams<'_>,
    report: &mut ShardReport,
) {
    let run = datagrams.run;
    // A session may still send after the client's stream has ended.
    let Some(stream) = streams.named(stream) else {
        return report
            .drops
            .count_many(DropReason::NotConnected, run.datagrams());
    };
    for datagram in datagrams.iter() {
        let length =
            u16::try_from(datagram.len()).expect("a run's datagrams are as short as MAX_RUN_BYTES");
        match streams.send(stream, [&length.to_be_bytes(), datagram, &[]]) {
            Ok(()) => {
                report.traffic.packets_out += 1;
                report.traffic.bytes_out += datagram.len() as u64;
            }
            Err(reason) => report.drops.count(reason),
        }
    }
}
