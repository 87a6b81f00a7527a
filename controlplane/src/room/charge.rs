//! The cost of requests: the events that a request causes, multiplied by their receivers.

use std::collections::BTreeSet;
use std::time::Instant;

use super::budget::Cost;
use super::{CloseCode, JoinRequest, Refusal, ResumePoint, Room, SocketId};
use crate::history::RoomEvent;
use crate::ids::{Identity, ParticipantId};
use crate::limits::HISTORY_EVENTS;
use crate::limits::budget::{
    EVENT_BYTES, JOIN_CHANGES, JOIN_DELIVERIES, PLACEHOLDER_EVENT_BYTES, PUBLISH_DELIVERIES,
    RESUME_CHANGES,
};

/// Number of events over which their mean size is taken.
const MEAN_OF_EVENTS: f64 = 64.0;

impl Room {
    /// Charges a join or resume. If the budget is too low, the join is refused. Called before the
    /// store is read for the join.
    pub fn charge_join(&mut self, socket: SocketId, join: &JoinRequest, now: Instant) -> bool {
        let audience = self.audience();
        let cost = match self.resume_point(join) {
            Some(point) => {
                let missed = self.missed_by(point);
                Cost {
                    deliveries: audience + missed,
                    bytes: audience * EVENT_BYTES + missed * self.event_bytes as u64,
                    changes: RESUME_CHANGES,
                }
            }
            None => Cost {
                deliveries: JOIN_DELIVERIES * audience,
                bytes: JOIN_DELIVERIES * audience * EVENT_BYTES,
                changes: JOIN_CHANGES,
            },
        };
        match self.charge_identity(&join.identity, cost, now) {
            Ok(()) => true,
            Err(refusal) => {
                self.refuse_join(socket, join.id, refusal, CloseCode::TooFast);
                false
            }
        }
    }

    /// The resume point, if the participant resumes. A participant that left, or has fewer grants
    /// than before, joins anew instead.
    fn resume_point<'a>(&self, join: &'a JoinRequest) -> Option<&'a ResumePoint> {
        let point = join.resume.as_ref()?;
        let earlier = match self.member_by_id.get(&point.participant) {
            Some(member) if member.identity == join.identity => &member.grants,
            Some(_) => return None,
            None => {
                let known = self.roster.participant(&point.participant)?;
                (known.identity == join.identity).then_some(&point.grants)?
            }
        };
        join.grants.covers(earlier).then_some(point)
    }

    /// Number of events that a resuming client missed.
    fn missed_by(&self, point: &ResumePoint) -> u64 {
        match &point.seen {
            Some((epoch, offset)) if *epoch == self.epoch => {
                let missed = self.roster.offset().saturating_sub(*offset);
                missed.min(HISTORY_EVENTS as u64)
            }
            Some(_) | None => 0,
        }
    }

    /// Updates the mean size of events with an event of `bytes`.
    pub(super) fn note_event_bytes(&mut self, bytes: usize) {
        self.event_bytes += (bytes as f64 - self.event_bytes) / MEAN_OF_EVENTS;
    }

    /// Charges a mute or unmute, which all participants receive.
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

    /// Charges a message of `bytes` to `recipients`.
    pub(super) fn charge_message(
        &mut self,
        participant: &ParticipantId,
        (bytes, recipients): (usize, Option<&[Identity]>),
        now: Instant,
    ) -> Result<(), Refusal> {
        let audience = self.audience();
        // Other participants get a placeholder, because offsets have no gaps.
        let (deliveries, placeholders) = match recipients {
            None => (audience, 0),
            Some(list) => {
                let named = list.iter().collect::<BTreeSet<_>>().len() as u64;
                (named + 1, audience)
            }
        };
        let cost = Cost {
            deliveries,
            bytes: deliveries * (EVENT_BYTES + bytes as u64)
                + placeholders * PLACEHOLDER_EVENT_BYTES,
            changes: 0,
        };
        self.charge(participant, cost, now)
    }

    /// Cost of an offer that causes `events`, and of the command to the data plane.
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
        let member = self.member_by_id.get(participant);
        let Some(identity) = member.map(|member| member.identity.clone()) else {
            return Ok(());
        };
        self.charge_identity(&identity, cost, now)
    }

    /// Takes `cost` from the accounts of `identity` and of the room.
    pub(super) fn charge_identity(
        &mut self,
        identity: &Identity,
        cost: Cost,
        now: Instant,
    ) -> Result<(), Refusal> {
        let audience = self.audience();
        self.budget.charge(identity, (cost, audience), now)
    }

    /// Receivers of an event, on all servers.
    fn audience(&self) -> u64 {
        self.roster.len().max(self.member_by_id.len()).max(1) as u64
    }
}
