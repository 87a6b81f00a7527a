//! What requests cost: what each of them makes the room tell, and whom.

use std::collections::BTreeSet;
use std::time::Instant;

use super::budget::Cost;
use super::{Room, RoomEvent, SocketId};
use crate::ids::{Identity, ParticipantId};
use crate::limits::budget::{EVENT_BYTES, JOIN_CHANGES, PUBLISH_DELIVERIES, RESUME_CHANGES};
use crate::signaling::{CloseCode, JoinRequest, Refusal};

impl Room {
    /// Whether somebody may join or come back now; who may not is turned away. To be asked before anything is
    /// read for it.
    pub fn admit(&mut self, socket: SocketId, join: &JoinRequest, now: Instant) -> bool {
        let audience = self.audience();
        // Everybody hears of it and the joiner of everybody; and of its end, which is not charged by itself.
        let (deliveries, changes) = match &join.resume {
            Some(_) => (audience, RESUME_CHANGES),
            None => (3 * audience, JOIN_CHANGES),
        };
        let cost = Cost {
            deliveries,
            bytes: deliveries * EVENT_BYTES,
            changes,
        };
        match self.budget.charge(&join.identity, cost, now) {
            Ok(()) => true,
            Err(refusal) => {
                self.turn_away(socket, join.id, &refusal, CloseCode::TooFast);
                false
            }
        }
    }

    /// Charges a change of mute state, which everybody hears of.
    pub(super) fn charge_mute(
        &mut self,
        participant: &ParticipantId,
        now: Instant,
    ) -> Result<(), Refusal> {
        let deliveries = self.audience();
        let cost = Cost {
            deliveries,
            bytes: deliveries * EVENT_BYTES,
            changes: 1,
        };
        self.charge(participant, cost, now)
    }

    /// Charges a message of `bytes` to those it is for.
    pub(super) fn charge_message(
        &mut self,
        participant: &ParticipantId,
        (bytes, recipients): (usize, Option<&[Identity]>),
        now: Instant,
    ) -> Result<(), Refusal> {
        let deliveries = match recipients {
            None => self.audience(),
            Some(list) => list.iter().collect::<BTreeSet<_>>().len() as u64 + 1,
        };
        let cost = Cost {
            deliveries,
            bytes: deliveries * (EVENT_BYTES + bytes as u64),
            changes: 0,
        };
        self.charge(participant, cost, now)
    }

    /// Of an offer with these consequences; the offer itself is work for the data plane.
    pub(super) fn cost_of_offer(&self, events: &[RoomEvent]) -> Cost {
        let weight = |event: &RoomEvent| match event {
            RoomEvent::TrackPublished { .. } | RoomEvent::TrackUnpublished { .. } => {
                PUBLISH_DELIVERIES
            }
            RoomEvent::ParticipantJoined { .. }
            | RoomEvent::ParticipantLeft { .. }
            | RoomEvent::TrackMuted { .. }
            | RoomEvent::Message { .. }
            | RoomEvent::Private => 1,
        };
        let audience = self.audience();
        Cost {
            deliveries: audience * events.iter().map(weight).sum::<u64>(),
            bytes: audience * EVENT_BYTES * events.len() as u64,
            changes: 1 + events.len() as u64,
        }
    }

    fn charge(
        &mut self,
        participant: &ParticipantId,
        cost: Cost,
        now: Instant,
    ) -> Result<(), Refusal> {
        match self.member_by_id.get(participant) {
            Some(member) => self.budget.charge(&member.identity, cost, now),
            None => Ok(()),
        }
    }

    /// Those who hear of an event, whichever node they are on.
    fn audience(&self) -> u64 {
        self.roster.len().max(self.member_by_id.len()).max(1) as u64
    }
}
