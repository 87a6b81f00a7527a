//! Tracks and those who subscribe to them here: put together when both are known, and taken apart.

use std::sync::Arc;
use std::time::Instant;

use super::state::Shard;
use crate::key::{LayerSet, SessionIndex, ShardId, SubscriberIndex, TrackKey};
use crate::media::subscription::Subscription;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::mesh::message::ToShard;
use crate::peer::session::Role;

impl Shard {
    /// A track is published on `home`.
    pub(crate) fn track_home(
        &mut self,
        home: ShardId,
        info: Arc<TrackInfo>,
        status: TrackStatus,
        now: Instant,
    ) {
        let track = info.spec.key;
        let entry = self.tracks.entry(track);
        entry.home = Some(home);
        entry.info = Some(info);
        entry.status = status;
        entry.told = LayerSet::NONE; // whoever publishes it now was told nothing yet
        for at in entry.subscribers.clone() {
            self.connect(at, now);
            self.dirty.mark(at.session);
        }
        self.tell_interest(track);
    }

    /// A track is no longer published on `home`.
    pub(crate) fn track_gone(&mut self, track: TrackKey, home: ShardId) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        if entry.home.is_some_and(|known| known != home) {
            return; // an old word about a track that has come back elsewhere
        }
        self.forwarding.backlog.forget(track);
        entry.home = None;
        entry.info = None;
        entry.status = TrackStatus::default();
        entry.told = LayerSet::NONE;
        for at in entry.subscribers.clone() {
            if let Some(subscription) = self.peers.subscription(at) {
                subscription.unpublished();
                if let Some(entry) = self.tracks.get_mut(track) {
                    entry.recount(subscription);
                }
            }
            self.dirty.mark(at.session);
        }
        self.tracks.tidy(track);
    }

    /// Puts subscription `at` among the track's subscribers, and lets it flow when
    /// both ends are negotiated.
    pub(crate) fn connect(&mut self, at: SubscriberIndex, now: Instant) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        let entry = self.tracks.entry(subscription.track);
        if subscription.place.is_none() {
            subscription.place = Some(entry.subscribers.len());
            entry.subscribers.push(at);
            self.report.subscriptions += 1;
        }
        let track = subscription.track;
        let Some(info) = entry.info.clone() else {
            return;
        };
        let Some(session) = self.peers.get_mut(at.session) else {
            return;
        };
        let flows = !entry.status.live.is_empty();
        session.connect(at.subscription, &info, &mut self.out);
        if flows && let Some(subscription) = self.peers.subscription(at) {
            subscription.may_flow(now);
        }
        self.absorb(at.session);
        self.recount(at);
        self.tell_interest(track);
        self.want_keyframe(at, now);
    }

    /// Takes subscription `at` from the track's subscribers.
    pub(crate) fn disconnect(&mut self, at: SubscriberIndex) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        let (track, place) = (subscription.track, subscription.place.take());
        let counted = std::mem::take(&mut subscription.counted);
        self.leave(track, place, counted);
    }

    /// Session `index` ended these subscriptions.
    pub(crate) fn unsubscribed(
        &mut self,
        index: SessionIndex,
        ended: Vec<Subscription>,
        now: Instant,
    ) {
        for subscription in ended {
            self.leave(subscription.track, subscription.place, subscription.counted);
        }
        self.refresh_subscriptions(index, now);
    }

    fn leave(&mut self, track: TrackKey, place: Option<usize>, counted: LayerSet) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        entry.uncount(counted);
        if let Some(place) = place {
            entry.subscribers.swap_remove(place);
            self.report.subscriptions -= 1;
            if let Some(&at) = entry.subscribers.get(place)
                && let Some(moved) = self.peers.subscription(at)
            {
                moved.place = Some(place);
            }
        }
        if entry.subscribers.is_empty() {
            entry.history.clear();
        }
        self.tell_interest(track);
        self.tracks.tidy(track);
    }

    /// Counts again which layers subscription `at` needs.
    pub(crate) fn recount(&mut self, at: SubscriberIndex) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        if let Some(entry) = self.tracks.get_mut(subscription.track) {
            entry.recount(subscription);
        }
    }

    /// Tells the home of `track` which layers are needed here, if that changed.
    pub(crate) fn tell_interest(&mut self, track: TrackKey) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let Some(home) = entry.home.filter(|home| *home != self.id) else {
            return;
        };
        let layers = entry.needed();
        if entry.told != layers {
            entry.told = layers;
            self.write_to(
                home,
                ToShard::Interest {
                    track,
                    shard: self.id,
                    layers,
                },
            );
        }
    }

    /// Connects negotiated subscriptions of session `index` with tracks that are known.
    pub(crate) fn refresh_subscriptions(&mut self, index: SessionIndex, now: Instant) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let Role::Subscribe(subscriber) = &peer.role else {
            return;
        };
        for subscription in subscriber.subscriptions.indices() {
            let session = index;
            self.connect(
                SubscriberIndex {
                    session,
                    subscription,
                },
                now,
            );
        }
        self.dirty.mark(index);
    }

    /// The measurements of a track changed: its subscribers' layers are chosen again.
    pub(crate) fn set_status(&mut self, track: TrackKey, status: TrackStatus) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        entry.status = status;
        for at in &entry.subscribers {
            self.dirty.mark(at.session);
        }
    }
}
