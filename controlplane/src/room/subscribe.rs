//! Who is subscribed to what: wishes of clients, tracks that come and go, and telling the data plane.

use std::time::Instant;

use super::lane::{InFlight, Job};
use super::negotiate::wire_kind;
use super::{Media, Room, RoomEvent};
use crate::ids::{Half, ParticipantId, TrackId};
use crate::limits::SUBSCRIPTION_BATCH;
use crate::node::Call;
use spillway_wire::dataplane as wire;

impl Room {
    /// Makes the subscribe session, once the participant is in.
    pub(super) fn prepare_subscribe(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        if !member.grants.subscribe {
            return;
        }
        if member.auto_subscribe {
            let others = self
                .roster
                .participants()
                .filter(|p| p.participant != *participant);
            for track in others.flat_map(|p| &p.tracks) {
                let known = member.subscribe.wish_by_track.contains_key(&track.track);
                if !known && !member.subscribe.declined.contains(&track.track) {
                    member.subscribe.want(&track.track, wire::Wish::default());
                }
            }
        }
        if !member.subscribe.established && self.media == Media::Up {
            self.push_own(participant, Half::Subscribe, Job::Create, now);
        }
        self.push_subscriptions(participant, now);
    }

    /// Tells the data plane about changed wishes.
    pub(super) fn push_subscriptions(&mut self, participant: &ParticipantId, now: Instant) {
        let member = self.member_by_id.get(participant);
        let wanted =
            member.is_some_and(|m| m.subscribe.established && !m.subscribe.dirty.is_empty());
        if wanted {
            self.push_own(participant, Half::Subscribe, Job::Subscribe, now);
        }
    }

    /// Follows what appears and disappears in the room.
    pub(super) fn subscribe_members(&mut self, event: &RoomEvent, now: Instant) {
        let (owner, come, gone): (_, Vec<&TrackId>, Vec<&TrackId>) = match event {
            RoomEvent::ParticipantJoined { participant } => {
                let tracks = participant.tracks.iter().map(|track| &track.track);
                (&participant.participant, tracks.collect(), Vec::new())
            }
            RoomEvent::TrackPublished { participant, track } => {
                (participant, vec![&track.track], Vec::new())
            }
            RoomEvent::TrackUnpublished { participant, track } => {
                (participant, Vec::new(), vec![track])
            }
            RoomEvent::ParticipantLeft { participant, .. } => (participant, Vec::new(), Vec::new()),
            RoomEvent::TrackMuted { .. } | RoomEvent::Message { .. } | RoomEvent::Private => return,
        };
        let left = matches!(event, RoomEvent::ParticipantLeft { .. });
        let roster = &self.roster;
        let mut changed = Vec::new();
        for member in self
            .member_by_id
            .values_mut()
            .filter(|m| m.participant != *owner)
        {
            let subscribe = &mut member.subscribe;
            let mut dirty = false;
            if member.auto_subscribe && member.grants.subscribe {
                for track in &come {
                    if !subscribe.wish_by_track.contains_key(track) {
                        dirty |= subscribe.want(track, wire::Wish::default());
                    }
                }
            }
            for track in &gone {
                dirty |= subscribe.unwant(track);
                subscribe.declined.remove(*track);
            }
            if left {
                let wished = subscribe.wish_by_track.keys();
                let dead: Vec<_> = wished
                    .filter(|t| roster.track(t).is_none())
                    .cloned()
                    .collect();
                for track in &dead {
                    dirty |= subscribe.unwant(track);
                }
                subscribe
                    .declined
                    .retain(|track| roster.track(track).is_some());
            }
            if dirty {
                changed.push(member.participant.clone());
            }
        }
        for participant in changed {
            self.push_subscriptions(&participant, now);
        }
    }

    pub(super) fn prepare_subscriptions(
        &mut self,
        session: String,
        participant: &ParticipantId,
    ) -> Option<(Call, InFlight)> {
        let subscribe = &mut self.member_by_id.get_mut(participant)?.subscribe;
        if !subscribe.established {
            return None;
        }
        let tracks: Vec<_> = subscribe
            .dirty
            .iter()
            .take(SUBSCRIPTION_BATCH)
            .cloned()
            .collect();
        let (mut put, mut remove) = (Vec::new(), Vec::new());
        for track in &tracks {
            subscribe.dirty.remove(track);
            let published = self.roster.track(track);
            match (subscribe.wish_by_track.get(track), published) {
                (Some(wish), Some((_, published))) => put.push(wire::TrackWish {
                    track: track.to_string(),
                    kind: wire_kind(published.kind).into(),
                    wish: Some(*wish),
                }),
                (None, _) | (_, None) => remove.push(track.to_string()),
            }
        }
        let request = wire::PutSubscriptionsRequest {
            session,
            put,
            remove,
        };
        let nothing = tracks.is_empty();
        (!nothing).then_some((
            Call::PutSubscriptions(request),
            InFlight::Subscribe { tracks },
        ))
    }
}
