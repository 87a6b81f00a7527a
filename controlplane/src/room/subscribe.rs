//! Subscriptions: requests of clients, tracks that start and end, and the commands to the node.

use std::time::Instant;

use spillway_mutants::{Mutant, is_planted};

use super::session::{InFlight, Job};
use super::{Media, Room};
use crate::fleet::{Command, SubscriptionParams, SyncGroup, TrackSubscription};
use crate::history::{RoomEvent, Source};
use crate::ids::{Half, ParticipantId, SessionId, TrackId};
use crate::limits::{SUBSCRIBE_INTERVAL, SUBSCRIPTION_BATCH};

impl Room {
    /// Creates the subscribe session of a participant that has joined, and subscribes
    /// automatically.
    pub(super) fn create_subscribe_session(&mut self, participant: &ParticipantId, now: Instant) {
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
                if member.subscriptions.is_open_for(&track.track) {
                    member
                        .subscriptions
                        .subscribe(&track.track, SubscriptionParams::default());
                }
            }
        }
        let (id, node) = (member.session(Half::Subscribe), member.node.clone());
        let session = self.session_by_id.get(&id);
        let is_missing = session.is_some_and(|session| !session.is_established());
        if is_missing && self.media_of(&node) == Media::Up {
            self.push_own(&id, Job::Create, now);
        }
        self.push_subscriptions(participant, now);
    }

    /// Sends changed subscriptions to the node, at most once per [`SUBSCRIBE_INTERVAL`].
    pub(super) fn push_subscriptions(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get(participant) else {
            return;
        };
        let id = member.session(Half::Subscribe);
        let subscriptions = &member.subscriptions;
        if !self.is_established(&id) || subscriptions.dirty.is_empty() {
            return;
        }
        match subscriptions.paused_until.filter(|until| *until > now) {
            Some(until) => self.wake(participant, until),
            None => self.push_own(&id, Job::Subscribe, now),
        }
    }

    /// Subscribes members to new tracks, and ends subscriptions to tracks that are gone.
    pub(super) fn subscribe_members(
        &mut self,
        event: &RoomEvent,
        (come, gone): (&[TrackId], &[TrackId]),
        now: Instant,
    ) {
        let Some(owner) = event.participant() else {
            return;
        };
        if come.is_empty() && gone.is_empty() {
            return;
        }
        let mut changed = Vec::new();
        let others = self.member_by_id.values_mut();
        for member in others.filter(|m| m.participant != *owner) {
            let subscriptions = &mut member.subscriptions;
            let mut dirty = false;
            if member.auto_subscribe && member.grants.subscribe {
                for track in come {
                    if subscriptions.is_open_for(track) {
                        dirty |= subscriptions.subscribe(track, SubscriptionParams::default());
                    }
                }
            }
            for track in gone
                .iter()
                .filter(|_| !is_planted(Mutant::SubscriptionOutlivesTrack))
            {
                dirty |= subscriptions.unsubscribe(track);
                subscriptions.declined.remove(track);
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
        session: &SessionId,
        now: Instant,
    ) -> Option<(Command, InFlight)> {
        if !self.is_established(session) {
            return None;
        }
        let subscriptions = &mut self
            .member_by_id
            .get_mut(&session.participant)?
            .subscriptions;
        let (mut put, mut remove, mut tracks) = (Vec::new(), Vec::new(), Vec::new());
        while tracks.len() < SUBSCRIPTION_BATCH {
            let Some(track) = subscriptions.dirty.pop_first() else {
                break;
            };
            let published = self.roster.track(&track);
            match (subscriptions.params_by_track.get(&track), published) {
                (Some(params), Some((owner, published))) => {
                    subscriptions.known.insert(track.clone());
                    put.push(TrackSubscription {
                        track: track.clone(),
                        kind: published.kind,
                        params: *params,
                        group: sync_group(owner, published.source),
                    });
                    tracks.push(track);
                }
                (None, _) | (_, None) if subscriptions.known.remove(&track) => {
                    remove.push(track.clone());
                    tracks.push(track);
                }
                // It was added and removed within one interval: the node never had it.
                (None, _) | (_, None) => {}
            }
        }
        if tracks.is_empty() {
            return None;
        }
        subscriptions.paused_until = Some(now + SUBSCRIBE_INTERVAL);
        let command = Command::PutSubscriptions {
            session: session.clone(),
            put,
            remove,
        };
        Some((command, InFlight::Subscribe { tracks }))
    }
}

/// Tracks with the same stream id play in sync: camera and microphone, or a screen and its sound.
/// All tracks of a participant have one clock, hence one CNAME.
fn sync_group(owner: &ParticipantId, source: Source) -> SyncGroup {
    let stream = match source {
        Source::Camera | Source::Microphone | Source::Other => owner.to_string(),
        Source::Screen | Source::ScreenAudio => format!("{owner}-screen"),
    };
    SyncGroup {
        stream,
        cname: owner.to_string(),
    }
}
