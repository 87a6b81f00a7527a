//! Sessions that arrive at, move from or end on this shard, with their tracks and subscriptions.

use std::time::Instant;

use crate::key::{SessionIndex, ShardId, SubscriberIndex, TrackKey};
use crate::mesh::message::{ToControl, ToShard};
use crate::path::seal;
use crate::peer::session::{Peer, Role};
use crate::shard::route::ForeignSession;
use crate::shard::state::Shard;
use crate::tree::source::Origin;

impl Shard {
    /// Adds a session that is new or has moved here.
    pub(super) fn adopt(&mut self, peer: Peer, now: Instant) -> SessionIndex {
        let index = self.peers.insert(peer, now);
        self.publish(index, &[], now);
        self.refresh_subscriptions(index, now);
        let deadline = self
            .peers
            .get_mut(index)
            .map_or(now, |peer| peer.deadline());
        self.timers.set(index.0, deadline);
        index
    }

    /// Moves a session to shard `to`, which receives its packets.
    pub(super) fn hand_over(&mut self, index: SessionIndex, to: ShardId, now: Instant) {
        // Packets that wait here do not move with the session, so they are sealed now. Sealing may end the session.
        seal::seal_now(self, index, now);
        self.handle_session_events(now);
        self.after_switches();
        let Some(peer) = self.take_out(index) else {
            return;
        };
        let session = peer.session;
        let addrs: Vec<_> = peer.paths.addresses().collect();
        let moved = ToControl::Moved { session, to };
        self.send_to_control(moved);
        self.send_to_shard(
            to,
            ToShard::Adopt {
                peer: Box::new(peer),
                first: None,
            },
        );
        for addr in addrs {
            let foreign = ForeignSession { home: to, session };
            self.peers.follow(addr, foreign, now);
        }
    }

    /// Ends session `index` and the tracks that it publishes.
    pub(super) fn close(&mut self, index: SessionIndex) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let published: Vec<TrackKey> = match &peer.role {
            Role::Publish(publisher) => publisher.tracks.iter().map(|info| info.spec.key).collect(),
            Role::Subscribe(_) => Vec::new(),
        };
        for track in published {
            self.end_track(track, Origin::Session(index));
        }
        self.take_out(index);
    }

    /// Removes a session from all tables; sends nothing.
    fn take_out(&mut self, index: SessionIndex) -> Option<Peer> {
        if let Some(peer) = self.peers.get_mut(index)
            && let Role::Subscribe(subscriber) = &peer.role
        {
            for subscription in subscriber.subscriptions.indices() {
                let session = index;
                self.disconnect(SubscriberIndex {
                    session,
                    subscription,
                });
            }
        }
        let peer = self.peers.remove(index)?;
        // The next session with this index must not get packets of this one.
        let forwarding = &mut self.forwarding;
        forwarding.schedule.take_of(index, &mut forwarding.pending);
        self.timers.clear(index.0);
        peer.paths
            .addresses()
            .for_each(|addr| self.egress.next_hops.forget(addr));
        if let Role::Publish(publisher) = &peer.role {
            for info in &publisher.tracks {
                self.unpublish_here(info.spec.key, Origin::Session(index));
            }
        }
        Some(peer)
    }

    /// Announces the tracks of session `index`, and the end of the tracks in `gone`.
    pub(super) fn publish(&mut self, index: SessionIndex, gone: &[TrackKey], now: Instant) {
        for track in gone {
            self.end_track(*track, Origin::Session(index));
        }
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let Role::Publish(publisher) = &peer.role else {
            return;
        };
        for info in publisher.tracks.clone() {
            let status = self.tracks.entry(info.spec.key).status;
            self.announce(info, status, Origin::Session(index), now);
        }
    }
}
