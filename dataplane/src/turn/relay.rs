//! Relays data in both directions (RFC 8656 sections 11 and 12): the most frequent operation.
//!
//! Data from a client costs one lookup by client, data from a peer none (the port is an index). Nothing is allocated.

use std::net::SocketAddr;
use std::time::Instant;

use spillway_wire::stun::{Class, Family, Method, TransactionId, Writer, kinds};
use spillway_wire::turn::ChannelData;

use super::address::Policy;
use super::allocation::AllocationId;
use super::channel::Channel;
use super::client::{Client, Transport, plain};
use super::deny::DenyReason;
use super::request::Request;
use super::{Deliver, Relay, Server};
use crate::limits::MAX_RELAYED_BYTES;

impl Server {
    /// Handles a datagram of `peer` to the address `relayed`.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Result<Deliver<'_>, DenyReason> {
        let delivered = self.write_incoming(now, plain(relayed), plain(peer), bytes.len());
        match delivered {
            Ok((client, padding_bytes)) => Ok(Deliver {
                client,
                head: &self.scratch,
                padding_bytes,
            }),
            Err(reason) => {
                self.counts.deny(reason);
                Err(reason)
            }
        }
    }

    pub(super) fn channel_data(
        &mut self,
        now: Instant,
        client: &Client,
        bytes: &[u8],
    ) -> Result<Relay, DenyReason> {
        let channel = ChannelData::parse(bytes).map_err(|_framing| DenyReason::Malformed)?;
        let id = self
            .allocation_of(client, now)
            .ok_or(DenyReason::NoAllocation)?;
        let length = channel.data.len();
        let bound = self.allocations[id.index()]
            .channels
            .by_number(now, channel.number)
            .ok_or(DenyReason::NoChannel)?;
        still_allowed(bound, &self.policy)?;
        let peer = bound.peer;
        let relayed = self.check_outgoing(now, id, peer, length)?;
        Ok(Relay {
            relayed,
            peer,
            payload: ChannelData::HEADER_BYTES..ChannelData::HEADER_BYTES + length,
            dont_fragment: false,
        })
    }

    pub(super) fn send_indication(&mut self, request: &Request<'_>) -> Result<Relay, DenyReason> {
        let fields = &request.fields;
        let now = request.now.instant;
        let id = self
            .allocation_of(&request.client, now)
            .ok_or(DenyReason::NoAllocation)?;
        if !fields.unknown.is_empty() || fields.malformed.is_some() {
            return Err(DenyReason::Malformed);
        }
        let (Some(peer), Some(payload)) = (fields.peer, fields.data.clone()) else {
            return Err(DenyReason::Malformed);
        };
        self.policy.check(peer)?;
        let relayed = self.check_outgoing(now, id, peer, payload.len())?;
        Ok(Relay {
            relayed,
            peer,
            payload,
            dont_fragment: fields.dont_fragment,
        })
    }

    /// Checks whether `bytes` may be sent to a permitted peer, and counts them.
    fn check_outgoing(
        &mut self,
        now: Instant,
        id: AllocationId,
        peer: SocketAddr,
        bytes: usize,
    ) -> Result<SocketAddr, DenyReason> {
        let family = Family::of(peer.ip());
        let allocation = &self.allocations[id.index()];
        let transport = allocation.client.transport;
        if !allocation.permissions.allows(now, peer.ip()) {
            return Err(DenyReason::NoPermission);
        }
        let port = allocation
            .ports
            .get(family)
            .ok_or(DenyReason::FamilyMismatch)?;
        self.take_share(now, id, bytes)?;
        self.allocations[id.index()].to_peer_bytes += bytes as u64;
        let counts = self.counts.of_mut(transport);
        counts.to_peer_packets += 1;
        counts.to_peer_bytes += bytes as u64;
        Ok(self.relayed.address(family, port))
    }

    /// Writes the header for a datagram of `length` bytes. Returns the client, the header and the padding.
    fn write_incoming(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        length: usize,
    ) -> Result<(Client, usize), DenyReason> {
        if length > MAX_RELAYED_BYTES {
            return Err(DenyReason::TooLong);
        }
        let id = self
            .relayed
            .owner(relayed)
            .ok_or(DenyReason::NoAllocation)?;
        let allocation = &mut self.allocations[id.index()];
        let client = allocation.client;
        if allocation.expires <= now {
            return Err(DenyReason::NoAllocation);
        }
        if !allocation.permissions.allows(now, peer.ip()) {
            return Err(DenyReason::NoPermission);
        }
        self.scratch.clear();
        let padding_bytes = match allocation.channels.by_peer(now, peer) {
            Some(channel) => {
                still_allowed(channel, &self.policy)?;
                let said = u16::try_from(length).expect("MAX_RELAYED_BYTES is a u16");
                let header = ChannelData::header(channel.number, said);
                self.scratch.extend_from_slice(&header);
                channel_padding(client.transport, length)
            }
            None => {
                self.policy.check(peer)?;
                let mut id = [0; 12];
                self.rng.fill(&mut id);
                let kind = Method::Data.kind(Class::Indication);
                let mut writer = Writer::new(&mut self.scratch, kind, TransactionId(id));
                writer.xor_address(kinds::XOR_PEER_ADDRESS, peer);
                writer.data_header(length)
            }
        };
        let is_node = self.policy.is_node(peer);
        self.take_share(now, id, length)?;
        let allocation = &mut self.allocations[id.index()];
        allocation.to_client_bytes += length as u64;
        if is_node {
            allocation.served = Some(now);
        }
        let counts = self.counts.of_mut(client.transport);
        counts.to_client_packets += 1;
        counts.to_client_bytes += length as u64;
        Ok((client, padding_bytes))
    }

    fn take_share(
        &mut self,
        now: Instant,
        id: AllocationId,
        bytes: usize,
    ) -> Result<(), DenyReason> {
        let limits = &self.limits;
        let share = &mut self.allocations[id.index()].share;
        if !share.take(now, limits.allocation_bytes_per_second, bytes) {
            return Err(DenyReason::Bandwidth);
        }
        if !self.share.take(now, limits.bytes_per_second, bytes) {
            return Err(DenyReason::TotalBandwidth);
        }
        Ok(())
    }
}

/// Checks a channel's peer again if the policy has changed since the last check.
fn still_allowed(channel: &mut Channel, policy: &Policy) -> Result<(), DenyReason> {
    if channel.judged != policy.generation() {
        policy.check(channel.peer)?;
        channel.judged = policy.generation();
    }
    Ok(())
}

/// RFC 8656 section 12.5: in a stream, ChannelData is padded to a multiple of four bytes.
fn channel_padding(transport: Transport, length: usize) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp | Transport::Tls => length.next_multiple_of(4) - length,
    }
}
