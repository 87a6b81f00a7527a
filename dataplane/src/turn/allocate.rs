//! Allocate and Refresh (RFC 8656 sections 7 and 8): creates, extends and ends allocations.

use std::time::Duration;

use spillway_wire::stun::{Class, Family, kinds};
use spillway_wire::turn::{EvenPort, Fields};

use super::allocation::{Allocation, AllocationId, Families, Ports};
use super::auth::{Seal, user};
use super::bucket::Bucket;
use super::deny::DenyReason;
use super::relayed::Parity;
use super::request::{Request, software};
use super::{Event, Server, id_of};
use crate::limits::{ALLOCATION_LIFETIME, MAX_ALLOCATION_LIFETIME};

/// IP protocol number of UDP, the only supported REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// Requested attributes of an Allocate.
#[derive(Debug, Clone, Copy)]
struct AllocateParams {
    family: Family,
    /// A second family, if requested.
    additional: Option<Family>,
    parity: Parity,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        request: &Request<'_>,
        seal: &Seal,
    ) -> Result<(), DenyReason> {
        let now = request.now.instant;
        if let Some(id) = self.allocation_of(&request.client, now) {
            // RFC 8656 section 7.2: the response may have been lost, so the client repeats its request.
            if self.allocations[id.index()].made_by != request.message.transaction() {
                return Err(DenyReason::Mismatch);
            }
            self.reply_allocated(request, seal, id);
            return Ok(());
        }
        let params = AllocateParams::read(&request.fields)?;
        self.client_gone(&request.client); // an expired allocation that was not removed yet
        let username = request.fields.username.ok_or(DenyReason::BadRequest)?;
        let account = self.quotas.account(user(username), request.client.source());
        self.quotas.check(account, &self.limits)?;
        let id = id_of(self.allocations.vacant_key());
        let mut allocation = Allocation {
            client: request.client,
            username: username.into(),
            key: seal.key,
            secret: seal.secret,
            secret_ends: self.authority.end_of(seal.secret, now),
            served: None,
            account,
            made_by: request.message.transaction(),
            granted_s: 0,
            expires: now,
            ports: Ports::default(),
            with_socket: Families::default(),
            permissions: Default::default(),
            channels: Default::default(),
            share: Bucket::full(now, self.limits.allocation_bytes_per_second),
            to_peer_bytes: 0,
            to_client_bytes: 0,
        };
        let lifetime = allocation.lifetime(requested(request.fields.lifetime_s), request.now)?;
        let ports = self.take_ports(&params, id)?;
        let expires = now + lifetime;
        allocation.granted_s = seconds(lifetime);
        allocation.expires = expires;
        allocation.ports = ports;
        self.allocations.insert(allocation);
        self.allocation_by_client.insert(request.client, id);
        self.quotas.take(account);
        self.timers.set(id.index(), expires);
        self.counts
            .of_mut(request.client.transport)
            .allocations_made += 1;
        for (family, port) in ports.all() {
            self.events.push_back(Event::Open {
                relayed: self.relayed.address(family, port),
                client: request.client,
            });
        }
        self.reply_allocated(request, seal, id);
        Ok(())
    }

    pub(super) fn refresh(&mut self, request: &Request<'_>, seal: &Seal) -> Result<(), DenyReason> {
        let now = request.now.instant;
        let id = self
            .allocation_of(&request.client, now)
            .ok_or(DenyReason::Mismatch)?;
        let ports = self.allocations[id.index()].ports;
        let family = match request.fields.family {
            None => None,
            Some(family) => Some(
                family
                    .filter(|family| ports.get(*family).is_some())
                    .ok_or(DenyReason::FamilyMismatch)?,
            ),
        };
        let granted_s = if request.fields.lifetime_s == Some(0) {
            self.end(id, family);
            0
        } else {
            let requested = requested(request.fields.lifetime_s);
            let lifetime = self.allocations[id.index()].lifetime(requested, request.now)?;
            self.allocations[id.index()].expires = now + lifetime;
            self.timers.set(id.index(), now + lifetime);
            seconds(lifetime)
        };
        let mut writer = request.answer(&mut self.scratch, Class::Success);
        writer.number(kinds::LIFETIME, granted_s);
        request.finish(writer, Some(seal));
        Ok(())
    }

    /// Ends only the relayed address of `family` if there is another one (RFC 8656 section 8.2), else the allocation.
    fn end(&mut self, id: AllocationId, family: Option<Family>) {
        let allocation = &mut self.allocations[id.index()];
        let has_other = allocation.ports.all().count() > 1;
        match family {
            Some(family) if has_other => {
                let client = allocation.client;
                let port = allocation.ports.get(family).expect("the caller checked it");
                allocation.ports.set(family, None);
                let relayed = self.relayed.address(family, port);
                self.relayed.release(family, port);
                self.events.push_back(Event::Closed { relayed, client });
            }
            Some(_) | None => self.close(id),
        }
    }

    /// Takes ports for the requested families, or none.
    fn take_ports(
        &mut self,
        params: &AllocateParams,
        id: AllocationId,
    ) -> Result<Ports, DenyReason> {
        let mut ports = Ports::default();
        let (relayed, rng) = (&mut self.relayed, &mut self.rng);
        let additional = params.additional.filter(|family| relayed.has(*family));
        // RFC 8656 section 7.2: if both families were requested, one of them is enough.
        let first = Some(params.family).filter(|family| relayed.has(*family));
        if first.is_none() && additional.is_none() {
            return Err(DenyReason::FamilyNotSupported);
        }
        for family in first.into_iter().chain(additional) {
            let port = relayed.take(family, params.parity, id, rng);
            ports.set(family, port);
        }
        match ports.all().next() {
            Some(_) => Ok(ports),
            None => Err(DenyReason::Capacity),
        }
    }

    fn reply_allocated(&mut self, request: &Request<'_>, seal: &Seal, id: AllocationId) {
        let allocation = &self.allocations[id.index()];
        let mut writer = request.answer(&mut self.scratch, Class::Success);
        for (family, port) in allocation.ports.all() {
            let relayed = self.relayed.address(family, port);
            writer.xor_address(kinds::XOR_RELAYED_ADDRESS, relayed);
        }
        writer
            .number(kinds::LIFETIME, allocation.granted_s)
            .xor_address(kinds::XOR_MAPPED_ADDRESS, request.client.remote);
        if request.fields.additional_family.is_some() {
            for family in [Family::V4, Family::V6] {
                if allocation.ports.get(family).is_none() {
                    let code = match self.relayed.has(family) {
                        true => 8 | 5 << 8,
                        false => 40 | 4 << 8,
                    };
                    // RFC 8656 section 18.12: the family, then class and number.
                    let value = (family as u32) << 24 | code;
                    writer.number(kinds::ADDRESS_ERROR_CODE, value);
                }
            }
        }
        software(&mut writer);
        request.finish(writer, Some(seal));
    }
}

impl AllocateParams {
    /// Reads the attributes in the order of RFC 8656 section 7.2.
    fn read(fields: &Fields<'_>) -> Result<Self, DenyReason> {
        match fields.transport {
            None => return Err(DenyReason::BadRequest),
            Some(UDP) => {}
            Some(_) => return Err(DenyReason::TransportNotSupported),
        }
        let has_family = fields.family.is_some() || fields.additional_family.is_some();
        if fields.has_reservation_token {
            // We never reserve a port, so no RESERVATION-TOKEN is valid.
            let is_lonely = fields.even_port.is_none() && !has_family;
            return Err(match is_lonely {
                true => DenyReason::Capacity,
                false => DenyReason::BadRequest,
            });
        }
        let (family, additional) = match (fields.family, fields.additional_family) {
            (Some(_), Some(_)) => return Err(DenyReason::BadRequest),
            (Some(family), None) => (family.ok_or(DenyReason::FamilyNotSupported)?, None),
            (None, Some(Some(Family::V6))) => (Family::V4, Some(Family::V6)),
            (None, Some(Some(Family::V4) | None)) => return Err(DenyReason::BadRequest),
            (None, None) => (Family::V4, None),
        };
        let parity = match fields.even_port {
            None => Parity::Any,
            Some(EvenPort::Alone) => Parity::Even,
            Some(EvenPort::WithNext) if additional.is_some() => return Err(DenyReason::BadRequest),
            // Ports are not reserved.
            Some(EvenPort::WithNext) => return Err(DenyReason::Capacity),
        };
        Ok(Self {
            family,
            additional,
            parity,
        })
    }
}

/// The granted lifetime for a requested one (RFC 8656 section 7.2).
fn requested(requested_s: Option<u32>) -> Duration {
    let requested = Duration::from_secs(requested_s.unwrap_or_default().into());
    requested.clamp(ALLOCATION_LIFETIME, MAX_ALLOCATION_LIFETIME)
}

fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).expect("the longest lifetime is a u32")
}
