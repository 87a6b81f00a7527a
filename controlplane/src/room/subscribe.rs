//! Who is subscribed to what: wishes of clients, tracks that come and go, and telling the data plane.

use std::time::Instant;

use super::lane::{InFlight, Job};
use super::negotiate::wire_kind;
use super::{Media, Room};
use crate::history::RoomEvent;
use crate::history::Source;
use crate::ids::{Half, ParticipantId, TrackId};
use crate::limits::{SUBSCRIBE_INTERVAL, SUBSCRIPTION_BATCH};
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

    /// Tells the data plane about changed wishes: at once, and again after a while.
    pub(super) fn push_subscriptions(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get(participant) else {
            return;
        };
        let subscribe = &member.subscribe;
        if !subscribe.established || subscribe.dirty.is_empty() {
            return;
        }
        match subscribe.rests_until.filter(|until| *until > now) {
            Some(until) => self.wake(participant, until),
            None => self.push_own(participant, Half::Subscribe, Job::Subscribe, now),
        }
    }

    /// Follows what appears and disappears in the room.
    pub(super) fn subscribe_members(&mut self, event: &RoomEvent, gone: &[TrackId], now: Instant) {
        let Some(owner) = event.participant() else {
            return;
        };
        let come: Vec<&TrackId> = match event {
            RoomEvent::ParticipantJoined { participant } => {
                participant.tracks.iter().map(|t| &t.track).collect()
            }
            RoomEvent::TrackPublished { track, .. } => vec![&track.track],
            RoomEvent::TrackUnpublished { .. }
            | RoomEvent::ParticipantLeft { .. }
            | RoomEvent::TrackMuted { .. }
            | RoomEvent::Message { .. }
            | RoomEvent::Private => Vec::new(),
        };
        if come.is_empty() && gone.is_empty() {
            return;
        }
        let mut changed = Vec::new();
        let others = self.member_by_id.values_mut();
        for member in others.filter(|m| m.participant != *owner) {
            let subscribe = &mut member.subscribe;
            let mut dirty = false;
            if member.auto_subscribe && member.grants.subscribe {
                for track in &come {
                    if !subscribe.wish_by_track.contains_key(track) {
                        dirty |= subscribe.want(track, wire::Wish::default());
                    }
                }
            }
            for track in gone {
                dirty |= subscribe.unwant(track);
                subscribe.declined.remove(track);
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
        now: Instant,
    ) -> Option<(Call, InFlight)> {
        let subscribe = &mut self.member_by_id.get_mut(participant)?.subscribe;
        if !subscribe.established {
            return None;
        }
        let (mut put, mut remove, mut tracks) = (Vec::new(), Vec::new(), Vec::new());
        while tracks.len() < SUBSCRIPTION_BATCH {
            let Some(track) = subscribe.dirty.pop_first() else {
                break;
            };
            let published = self.roster.track(&track);
            match (subscribe.wish_by_track.get(&track), published) {
                (Some(wish), Some((owner, published))) => {
                    subscribe.known.insert(track.clone());
                    put.push(wire::TrackWish {
                        track: track.to_string(),
                        kind: wire_kind(published.kind).into(),
                        wish: Some(*wish),
                        group: Some(sync_group(owner, published.source)),
                    });
                    tracks.push(track);
                }
                (None, _) | (_, None) if subscribe.known.remove(&track) => {
                    remove.push(track.to_string());
                    tracks.push(track);
                }
                // It came and went meanwhile: the data plane never heard of it.
                (None, _) | (_, None) => {}
            }
        }
        if tracks.is_empty() {
            return None;
        }
        subscribe.rests_until = Some(now + SUBSCRIBE_INTERVAL);
        let request = wire::PutSubscriptionsRequest {
            session,
            put,
            remove,
        };
        Some((
            Call::PutSubscriptions(request),
            InFlight::Subscribe { tracks },
        ))
    }
}

/// What a participant sends with one device is played in sync with the rest of it: camera with microphone, a screen with
/// its sound. All of it is by the participant's one clock.
fn sync_group(owner: &ParticipantId, source: Source) -> wire::SyncGroup {
    let stream = match source {
        Source::Camera | Source::Microphone | Source::Other => owner.to_string(),
        Source::Screen | Source::ScreenAudio => format!("{owner}-screen"),
    };
    wire::SyncGroup {
        stream,
        cname: owner.to_string(),
    }
}
