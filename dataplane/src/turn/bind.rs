//! CreatePermission and ChannelBind (RFC 8656 sections 10 and 12).

use std::net::IpAddr;

use spillway_wire::stun::{Class, Family};
use spillway_wire::turn::ChannelNumber;

use super::allocation::AllocationId;
use super::auth::Seal;
use super::deny::DenyReason;
use super::request::Request;
use super::{Event, Server};

impl Server {
    pub(super) fn create_permission(
        &mut self,
        request: &Request<'_>,
        seal: &Seal,
    ) -> Result<(), DenyReason> {
        let now = request.now.instant;
        let id = self
            .allocation_of(&request.client, now)
            .ok_or(DenyReason::Mismatch)?;
        if request.fields.peer.is_none() {
            return Err(DenyReason::BadRequest);
        }
        let allocation = &mut self.allocations[id.index()];
        let ips = || {
            let peers = request.fields.peers(&request.message);
            peers.flatten().map(|peer| peer.ip())
        };
        // RFC 8656 section 10.2: install all permissions, or none.
        for ip in ips() {
            if !allocation.has_family_of(ip) {
                return Err(DenyReason::FamilyMismatch);
            }
            self.policy.check_ip(ip)?;
        }
        if !allocation.permissions.have_room(now, ips()) {
            return Err(DenyReason::AllocationFull);
        }
        for ip in ips() {
            allocation.permissions.install(now, ip);
        }
        for ip in ips() {
            self.request_socket(id, ip);
        }
        let writer = request.answer(&mut self.scratch, Class::Success);
        request.finish(writer, Some(seal));
        Ok(())
    }

    pub(super) fn channel_bind(
        &mut self,
        request: &Request<'_>,
        seal: &Seal,
    ) -> Result<(), DenyReason> {
        let now = request.now.instant;
        let id = self
            .allocation_of(&request.client, now)
            .ok_or(DenyReason::Mismatch)?;
        let (Some(number), Some(peer)) = (request.fields.channel, request.fields.peer) else {
            return Err(DenyReason::BadRequest);
        };
        let number = ChannelNumber::new(number).ok_or(DenyReason::BadRequest)?;
        let allocation = &mut self.allocations[id.index()];
        if !allocation.has_family_of(peer.ip()) {
            return Err(DenyReason::FamilyMismatch);
        }
        self.policy.check(peer)?;
        allocation.channels.check(now, number, peer)?;
        let ips = || std::iter::once(peer.ip());
        if !allocation.permissions.have_room(now, ips()) {
            return Err(DenyReason::AllocationFull);
        }
        allocation.permissions.install(now, peer.ip());
        let judged = self.policy.generation();
        allocation.channels.bind(now, number, peer, judged);
        self.request_socket(id, peer.ip());
        let writer = request.answer(&mut self.scratch, Class::Success);
        request.finish(writer, Some(seal));
        Ok(())
    }

    /// Requests a socket for a relayed address, once, when it gets a peer outside this process.
    fn request_socket(&mut self, id: AllocationId, ip: IpAddr) {
        let allocation = &mut self.allocations[id.index()];
        let family = Family::of(ip);
        if self.policy.is_inside(ip) || !allocation.with_socket.insert(family) {
            return;
        }
        let port = allocation.ports.get(family).expect("the caller checked it");
        self.events.push_back(Event::SocketWanted {
            relayed: self.relayed.address(family, port),
            peer: ip,
        });
    }
}
