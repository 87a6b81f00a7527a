//! Clients that are reached otherwise than by the media socket: what comes from them over streams, and what goes
//! to them.

use std::net::SocketAddr;
use std::time::Instant;

use super::Shard;
use super::ways::Way;
use crate::drop_reason::DropReason;
use crate::key::ShardId;
use crate::letter::{Outward, ToShard};
use crate::path;
use crate::path::arrive::Arrived;
use crate::path::transmit::Run;
use crate::report::ShardReport;
use crate::stream::{Arrivals, Event, Streams};
use crate::turn::StreamId;

impl Shard {
    /// Takes what came over streams. True when more may wait.
    pub(super) fn receive_streams(&mut self, now: Instant) -> bool {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let more = self.streams.poll(now, &mut arrivals);
        self.on_arrivals(&arrivals, now);
        arrivals.clear();
        self.arrivals = arrivals; // keeps its allocation
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
                } => self.ice_datagram((stream, remote, local), datagram, now),
                Event::Gone { client } => {
                    self.turn_client_gone(&client, now);
                    if let Some(Way::Stream(stream)) = self.ways.get(client.remote)
                        && client.stream == Some(stream)
                    {
                        self.ways.remove(client.remote);
                    }
                }
            }
        }
    }

    fn ice_datagram(
        &mut self,
        (stream, remote, local): (StreamId, SocketAddr, SocketAddr),
        datagram: &[u8],
        now: Instant,
    ) {
        self.ways.insert(remote, Way::Stream(stream));
        self.report.traffic.packets_in += 1;
        self.report.traffic.bytes_in += datagram.len() as u64;
        let arrived = Arrived {
            bytes: datagram,
            source: remote,
            local: Some(local.ip()),
            inside: true,
        };
        path::take_in(self, &arrived, now);
        // A stream is somebody's while a session receives from it.
        let is_known = self.peers.by_addr(remote).is_some();
        self.streams.keep(stream, is_known, now);
    }

    /// Takes out of what waits for the kernel what is for clients that are reached otherwise.
    pub(super) fn divert(&mut self, now: Instant) {
        if self.ways.is_empty() {
            return;
        }
        let Self {
            ways,
            desk,
            streams,
            candidates,
            post,
            report,
            departures_v4,
            departures_v6,
            ..
        } = self;
        for departures in [departures_v4, departures_v6] {
            departures.divert(|run, bytes| {
                let Some(way) = ways.get(run.destination) else {
                    return false;
                };
                match way {
                    Way::Relay => {
                        let peer = candidates.for_datagram(run.destination, run.source);
                        if let Some(desk) = desk {
                            desk.deliver((run, bytes), (peer, now), streams, report);
                        }
                    }
                    Way::Stream(stream) => over_stream(streams, stream, (run, bytes), report),
                    Way::Shard(shard) => {
                        let outward = Outward {
                            bytes: bytes.into(),
                            run: *run,
                        };
                        if post.send(shard, ToShard::Outward(outward)).is_err() {
                            let drops = &mut report.drops;
                            drops.count_many(DropReason::MeshFull, run.datagrams());
                        }
                    }
                }
                true
            });
        }
    }

    /// What another shard's session sends to a client that this one reaches.
    pub(super) fn on_outward(&mut self, outward: &Outward, now: Instant) {
        let Outward { bytes, run } = outward;
        let (streams, report) = (&mut self.streams, &mut self.report);
        match (self.ways.get(run.destination), &mut self.desk) {
            (Some(Way::Relay), Some(desk)) => {
                let peer = self.candidates.for_datagram(run.destination, run.source);
                desk.deliver((run, bytes), (peer, now), streams, report);
            }
            (Some(Way::Stream(stream)), _) => over_stream(streams, stream, (run, bytes), report),
            // It has just gone; or moved on, and then the session will hear from it.
            (Some(Way::Relay | Way::Shard(_)) | None, _) => {
                let drops = &mut report.drops;
                drops.count_many(DropReason::NotRelayed, run.datagrams());
            }
        }
    }

    /// Datagrams from `source` came by `via`, in a way that only that shard knows.
    pub(super) fn reached_by(&mut self, source: SocketAddr, via: ShardId) {
        if !self.ways.insert(source, Way::Shard(via)) {
            self.report.drops.count(DropReason::TooManyAddresses);
        }
    }
}

/// Each datagram of `run` with its length before it (RFC 4571).
fn over_stream(
    streams: &mut Streams,
    stream: StreamId,
    (run, bytes): (&Run, &[u8]),
    report: &mut ShardReport,
) {
    for datagram in bytes.chunks(run.segment_bytes.max(1)) {
        let length = u16::try_from(datagram.len()).expect("a datagram's length is a u16");
        match streams.send(stream, [&length.to_be_bytes(), datagram, &[]]) {
            Ok(()) => {
                report.traffic.packets_out += 1;
                report.traffic.bytes_out += datagram.len() as u64;
            }
            Err(reason) => report.drops.count(reason),
        }
    }
}
