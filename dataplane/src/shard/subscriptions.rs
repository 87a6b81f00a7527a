//! Tracks and those who subscribe to them here: put together when both are known, and taken apart.

use std::sync::Arc;
use std::time::Instant;

use super::state::Shard;
use crate::key::{LayerSet, ShardId, TrackKey};
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
        for (peer, sub) in entry.subscribers.clone() {
            self.connect(peer, sub, now);
            self.dirty.mark(peer);
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
        for (peer, sub) in entry.subscribers.clone() {
            if let Some(subscription) = self.peers.subscription(peer, sub) {
                subscription.unpublished();
                if let Some(entry) = self.tracks.get_mut(track) {
                    entry.recount(subscription);
                }
            }
            self.dirty.mark(peer);
        }
        self.tracks.tidy(track);
    }

    /// Puts subscription `sub` of session `peer` among the track's subscribers, and lets it flow when
    /// both ends are negotiated.
    pub(crate) fn connect(&mut self, peer: usize, sub: usize, now: Instant) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
            return;
        };
        let entry = self.tracks.entry(subscription.track);
        if subscription.place.is_none() {
            subscription.place = Some(entry.subscribers.len());
            entry.subscribers.push((peer, sub));
            self.report.subscriptions += 1;
        }
        let track = subscription.track;
        let Some(info) = entry.info.clone() else {
            return;
        };
        let Some(session) = self.peers.get_mut(peer) else {
            return;
        };
        let flows = !entry.status.live.is_empty();
        session.connect(sub, &info, &mut self.out);
        if flows && let Some(subscription) = self.peers.subscription(peer, sub) {
            subscription.may_flow(now);
        }
        self.absorb(peer);
        self.recount(peer, sub);
        self.tell_interest(track);
        self.want_keyframe(peer, sub, now);
    }

    /// Takes subscription `sub` of session `peer` from the track's subscribers.
    pub(crate) fn disconnect(&mut self, peer: usize, sub: usize) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
            return;
        };
        let (track, place) = (subscription.track, subscription.place.take());
        let counted = std::mem::take(&mut subscription.counted);
        self.leave(track, place, counted);
    }

    /// Session `index` ended these subscriptions.
    pub(crate) fn unsubscribed(&mut self, index: usize, ended: Vec<Subscription>, now: Instant) {
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
            if let Some(&(peer, sub)) = entry.subscribers.get(place)
                && let Some(moved) = self.peers.subscription(peer, sub)
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

    /// Counts again which layers subscription `sub` of session `peer` needs.
    pub(crate) fn recount(&mut self, peer: usize, sub: usize) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
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
    pub(crate) fn refresh_subscriptions(&mut self, index: usize, now: Instant) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let Role::Subscribe(subscriber) = &peer.role else {
            return;
        };
        let subs: Vec<usize> = subscriber
            .subscriptions
            .iter()
            .map(|(sub, _)| sub)
            .collect();
        for sub in subs {
            self.connect(index, sub, now);
        }
        self.dirty.mark(index);
    }

    /// The measurements of a track changed: its subscribers' layers are chosen again.
    pub(crate) fn set_status(&mut self, track: TrackKey, status: TrackStatus) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        entry.status = status;
        for (peer, _) in &entry.subscribers {
            self.dirty.mark(*peer);
        }
    }
}
