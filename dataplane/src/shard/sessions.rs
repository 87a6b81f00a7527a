//! Sessions that come, move and go, and the tracks and subscriptions that come with them.

use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use super::track_table::Published;
use crate::key::{LayerSet, ShardId, TrackKey};
use crate::media::subscription::Subscription;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::mesh::message::{ToControl, ToShard};
use crate::path::seal;
use crate::peer::{Peer, Role};

impl Shard {
    /// A session lives here from now on.
    pub(super) fn adopt(&mut self, peer: Peer, now: Instant) -> usize {
        let index = self.peers.insert(peer, now);
        self.publish(index, &[], now);
        self.refresh_subscriptions(index, now);
        let deadline = self
            .peers
            .get_mut(index)
            .map_or(now, |peer| peer.deadline());
        self.timers.set(index, deadline);
        index
    }

    /// A session goes to where its packets land.
    pub(super) fn hand_over(&mut self, index: usize, to: ShardId, now: Instant) {
        // What waits here would not be found there. Sealing it may end the session.
        seal::seal_now(self, index, now);
        self.settle(now);
        self.after_switches();
        let Some(peer) = self.take_out(index) else {
            return;
        };
        let session = peer.session;
        let addrs: Vec<_> = peer.paths.addresses().collect();
        let moved = ToControl::Moved { session, to };
        if self.outbox.send_control(moved).is_err() {
            tracing::warn!(
                session = session.0,
                "the control thread was not told of a move"
            );
        }
        self.write_to(
            to,
            ToShard::Adopt {
                peer: Box::new(peer),
                first: None,
            },
        );
        for addr in addrs {
            self.peers.follow(addr, (to, session), now);
        }
    }

    /// A session is over.
    pub(super) fn close(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let published: Vec<TrackKey> = match &peer.role {
            Role::Publish(publisher) => publisher.tracks.iter().map(|info| info.spec.key).collect(),
            Role::Subscribe(_) => Vec::new(),
        };
        for track in published {
            self.end_track(track, index);
        }
        self.take_out(index);
    }

    /// Takes a session out of all tables, without a word to anybody.
    fn take_out(&mut self, index: usize) -> Option<Peer> {
        if let Some(peer) = self.peers.get_mut(index)
            && let Role::Subscribe(subscriber) = &peer.role
        {
            let subs: Vec<usize> = subscriber
                .subscriptions
                .iter()
                .map(|(sub, _)| sub)
                .collect();
            for sub in subs {
                self.disconnect(index, sub);
            }
        }
        let peer = self.peers.remove(index)?;
        // Whoever gets its place gets nothing of it.
        self.work.take_of(index, &mut self.portions);
        self.timers.clear(index);
        peer.paths
            .addresses()
            .for_each(|addr| self.next_hops.forget(addr));
        if let Role::Publish(publisher) = &peer.role {
            for info in &publisher.tracks {
                self.unpublish_here(info.spec.key, index);
            }
        }
        Some(peer)
    }

    /// Announces the tracks of session `index`, and that those in `gone` are no longer published.
    pub(super) fn publish(&mut self, index: usize, gone: &[TrackKey], now: Instant) {
        for track in gone {
            self.end_track(*track, index);
        }
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let Role::Publish(publisher) = &peer.role else {
            return;
        };
        for info in publisher.tracks.clone() {
            let entry = self.tracks.entry(info.spec.key);
            let status = entry.status;
            match &mut entry.published {
                Some(published) => published.peer = index,
                None => {
                    entry.published = Some(Published::new(index, now));
                    self.report.tracks += 1;
                }
            }
            for shard in self.other_shards() {
                let info = Arc::clone(&info);
                self.write_to(
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
    }

    /// A track is published on `home`.
    pub(super) fn track_home(
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
    pub(super) fn track_gone(&mut self, track: TrackKey, home: ShardId) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        if entry.home.is_some_and(|known| known != home) {
            return; // an old word about a track that has come back elsewhere
        }
        self.backlog.forget(track);
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
    pub(super) fn connect(&mut self, peer: usize, sub: usize, now: Instant) {
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
    pub(super) fn disconnect(&mut self, peer: usize, sub: usize) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
            return;
        };
        let (track, place) = (subscription.track, subscription.place.take());
        let counted = std::mem::take(&mut subscription.counted);
        self.leave(track, place, counted);
    }

    /// Session `index` ended these subscriptions.
    pub(super) fn unsubscribed(&mut self, index: usize, ended: Vec<Subscription>, now: Instant) {
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
    pub(super) fn recount(&mut self, peer: usize, sub: usize) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
            return;
        };
        if let Some(entry) = self.tracks.get_mut(subscription.track) {
            entry.recount(subscription);
        }
    }

    /// Tells the home of `track` which layers are needed here, if that changed.
    pub(super) fn tell_interest(&mut self, track: TrackKey) {
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

    /// False when another session publishes `track` by now.
    fn unpublish_here(&mut self, track: TrackKey, index: usize) -> bool {
        let Some(entry) = self.tracks.get_mut(track) else {
            return false;
        };
        if entry
            .published
            .as_ref()
            .is_none_or(|published| published.peer != index)
        {
            return false;
        }
        entry.published = None;
        self.report.tracks -= 1;
        self.active.retain(|active| *active != track);
        self.waiting.retain(|waiting| *waiting != track);
        true
    }

    /// Session `index` publishes `track` no longer.
    fn end_track(&mut self, track: TrackKey, index: usize) {
        if !self.unpublish_here(track, index) {
            return;
        }
        for shard in self.other_shards() {
            self.write_to(
                shard,
                ToShard::TrackGone {
                    track,
                    home: self.id,
                },
            );
        }
        self.track_gone(track, self.id);
    }
}
