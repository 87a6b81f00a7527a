//! What sessions report while they are driven, acted upon between packets.

use std::collections::hash_map::Entry;
use std::time::Instant;

use super::Shard;
use crate::key::TrackKey;
use crate::mesh::message::{ShardEvent, ToControl};
use crate::path::again;
use crate::peer::{Peer, PeerEvent, REJECTED, Role};

impl Shard {
    /// Acts upon everything sessions reported, until nothing is left.
    pub fn settle(&mut self, now: Instant) {
        while !self.events.is_empty() {
            for (index, event) in std::mem::take(&mut self.events) {
                self.on_event(index, event, now);
            }
        }
    }

    fn on_event(&mut self, index: usize, event: PeerEvent, now: Instant) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let session = peer.session;
        match event {
            PeerEvent::Connected => {
                self.tell(ShardEvent::Connected {
                    session,
                    shard: self.id,
                });
                self.refresh_subscriptions(index, now);
            }
            PeerEvent::Closed(reason) => {
                self.close(index);
                self.tell(ShardEvent::Closed {
                    session,
                    reason,
                    failure: None,
                });
            }
            PeerEvent::HandshakeFailed { kind, reason } => {
                self.close(index);
                self.report.handshake_failures[kind as usize] += 1;
                self.tell(ShardEvent::Closed {
                    session,
                    reason,
                    failure: Some(kind),
                });
            }
            PeerEvent::TracksChanged { gone } => self.publish(index, &gone, now),
            PeerEvent::Offer(offer) => self.tell(ShardEvent::Offer {
                session,
                revision: offer.revision,
                sdp: offer.sdp,
                mids: offer.mids,
            }),
            PeerEvent::Settled => self.refresh_subscriptions(index, now),
            PeerEvent::KeyframeWanted(sub) => {
                if let Some(subscription) = self.peers.subscription(index, sub) {
                    subscription.needs_keyframe(now);
                    self.want_keyframe(index, sub, now);
                }
            }
            PeerEvent::Measured(sample) => self.report.quality.record(sample),
            PeerEvent::EstimateChanged => self.dirty.mark(index),
            PeerEvent::Undecodable(track) => self.tell_undecodable(index, track),
            PeerEvent::Rejected(track) => self.tell(ShardEvent::Layer {
                session,
                track,
                rid: String::new(),
                active: false,
                reason: REJECTED,
            }),
            PeerEvent::Unsubscribed(ended) => self.unsubscribed(index, ended, now),
            PeerEvent::NewUfrag { ufrag, retired } => {
                self.peers.add_ufrag(index, ufrag.clone(), retired.as_ref());
                let changed = ToControl::NewUfrag {
                    session,
                    ufrag,
                    retired,
                };
                if self.outbox.send_control(changed).is_err() {
                    tracing::warn!(session = session.0, "a new ufrag was not registered");
                }
            }
        }
    }

    /// Gives a subscription the keyframe it waits for, if it waits for one: a young one that is kept, or the home of the
    /// track is asked. Not before the session can receive: it would be lost, and the next one later.
    pub(super) fn want_keyframe(&mut self, peer: usize, sub: usize, now: Instant) {
        let Some(subscription) = self.peers.subscription(peer, sub) else {
            return;
        };
        let (track, Some(layer)) = (subscription.track, subscription.waits_for()) else {
            return;
        };
        let is_start = subscription.current().is_none();
        if !self.peers.get(peer).is_some_and(Peer::is_reachable) {
            return;
        }
        if !(is_start && again::start_from_history(self, (peer, sub), (track, layer), now)) {
            self.request_keyframe(track, layer, now);
        }
    }

    /// Asks the publisher of `track`, here or elsewhere.
    pub(crate) fn request_keyframe(
        &mut self,
        track: TrackKey,
        layer: crate::key::LayerIndex,
        now: Instant,
    ) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        let Some(published) = &mut entry.published else {
            if let Some(home) = entry.home.filter(|home| *home != self.id) {
                // It is repeated until it is answered: asking more often would only cost letters.
                if let Entry::Vacant(vacant) = self.asked.entry((track, layer)) {
                    vacant.insert(now);
                    self.write_to(home, crate::mesh::message::ToShard::Keyframe(track, layer));
                }
            }
            return;
        };
        let ask_now = published.keyframes.request(layer, now);
        let publisher = published.peer;
        if !std::mem::replace(&mut published.is_waiting, true) {
            self.waiting.push(track);
        }
        if ask_now {
            self.ask_publisher(publisher, track, layer, now);
        }
    }

    pub(super) fn ask_publisher(
        &mut self,
        publisher: usize,
        track: TrackKey,
        layer: crate::key::LayerIndex,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(publisher) else {
            return;
        };
        peer.request_keyframe(track, layer, now, &mut self.out);
        self.absorb(publisher);
    }

    /// Connects negotiated subscriptions of session `index` with tracks that are known.
    pub(super) fn refresh_subscriptions(&mut self, index: usize, now: Instant) {
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
}
