//! Connects tracks and their subscribers on this shard when both are known, and disconnects them at the end.

use std::sync::Arc;
use std::time::Instant;

use super::state::Shard;
use super::track_table::Published;
use crate::key::{LayerSet, SessionIndex, ShardId, SubscriberIndex, TrackKey};
use crate::media::subscription::Subscription;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::mesh::message::ToShard;
use crate::peer::session::Role;
use crate::tree::link::LinkMessage;
use crate::tree::source::{Origin, Source};

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
        entry.route.set_home(Some(home));
        entry.info = Some(info);
        entry.status = status;
        for at in entry.subscribers.clone() {
            self.connect(at, now);
            self.dirty.mark(at.session);
        }
        self.report_demand(track);
    }

    /// A track enters the node here: tells all shards, and connects waiting subscribers.
    pub(crate) fn announce(
        &mut self,
        info: Arc<TrackInfo>,
        status: TrackStatus,
        origin: Origin,
        now: Instant,
    ) {
        let entry = self.tracks.entry(info.spec.key);
        entry.route.enter(origin);
        if entry.published.is_none() {
            entry.published = Some(Published::new(now));
            self.report.tracks += 1;
        }
        for shard in self.other_shards() {
            let info = Arc::clone(&info);
            self.send_to_shard(
                shard,
                ToShard::TrackHome {
                    home: self.id,
                    info,
                    status,
                },
            );
        }
        self.track_home(self.id, info, status, now);
    }

    /// The track no longer enters the node here. False when it already enters from another origin.
    pub(crate) fn unpublish_here(&mut self, track: TrackKey, origin: Origin) -> bool {
        let Some(entry) = self.tracks.get_mut(track) else {
            return false;
        };
        if entry.route.origin() != Some(origin) {
            return false;
        }
        entry.published = None;
        let targets = entry.route.leave();
        self.report.tracks -= 1;
        self.periodic.active.retain(|active| *active != track);
        for (target, _) in targets {
            self.report_track_gone(track, target);
        }
        true
    }

    /// A track that entered the node here has ended.
    pub(crate) fn end_track(&mut self, track: TrackKey, origin: Origin) {
        if !self.unpublish_here(track, origin) {
            return;
        }
        for shard in self.other_shards() {
            self.send_to_shard(
                shard,
                ToShard::TrackGone {
                    track,
                    home: self.id,
                },
            );
        }
        self.track_gone(track, self.id);
    }

    /// A track is no longer published on `home`.
    pub(crate) fn track_gone(&mut self, track: TrackKey, home: ShardId) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        if entry.route.home().is_some_and(|known| known != home) {
            return; // a late message: the track is already published elsewhere
        }
        self.forwarding.backlog.forget(track);
        entry.route.set_home(None);
        entry.info = None;
        entry.status = TrackStatus::default();
        entry.history.clear(); // the next publisher of the track starts its epochs and numbers again
        for at in entry.subscribers.clone() {
            if let Some(subscription) = self.peers.subscription(at) {
                subscription.unpublished();
                if let Some(entry) = self.tracks.get_mut(track) {
                    entry.recount(subscription);
                }
            }
            self.dirty.mark(at.session);
        }
        self.tracks.remove_unused(track);
    }

    /// Adds subscription `at` to the subscribers of its track. Media flows when publisher and subscriber have
    /// negotiated.
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
            subscription.start_waiting(now);
        }
        self.absorb(at.session);
        self.recount(at);
        self.report_demand(track);
        self.get_keyframe(at, now);
    }

    /// Removes subscription `at` from the subscribers of its track.
    pub(crate) fn disconnect(&mut self, at: SubscriberIndex) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        let (track, place) = (subscription.track, subscription.place.take());
        let counted = std::mem::take(&mut subscription.counted);
        self.leave(track, place, counted);
    }

    /// Session `index` ended the subscriptions `ended`.
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
        entry.route.count(counted, LayerSet::NONE);
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
        self.report_demand(track);
        self.tracks.remove_unused(track);
    }

    /// Updates the layers that subscription `at` needs in the counts of its track.
    pub(crate) fn recount(&mut self, at: SubscriberIndex) {
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        if let Some(entry) = self.tracks.get_mut(subscription.track) {
            entry.recount(subscription);
        }
    }

    /// Sends the needed layers to the source of `track` (its home or a link), if they changed.
    pub(crate) fn report_demand(&mut self, track: TrackKey) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let Some((source, layers)) = entry.route.changed_demand(self.id) else {
            return;
        };
        match source {
            Source::Session(_) => {}
            Source::Shard(home) => self.send_to_shard(
                home,
                ToShard::Interest {
                    track,
                    shard: self.id,
                    layers,
                },
            ),
            Source::Link(link) => self.send_to_link(link, LinkMessage::Interest(track, layers)),
        }
    }

    /// Connects the negotiated subscriptions of session `index` with known tracks.
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

    /// Stores new measurements of a track, and marks its subscribers for a new choice of layers.
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
