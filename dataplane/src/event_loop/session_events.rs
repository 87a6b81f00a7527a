//! Events of sessions (connected, closed, renegotiated, keyframe wanted), handled between packets.

use std::time::Instant;

use crate::key::{SessionIndex, SubscriberIndex};
use crate::mesh::message::{ShardEvent, ToControl};
use crate::peer::output::{PeerEvent, REJECTED};
use crate::shard::state::Shard;

impl Shard {
    /// Handles events of sessions until none is left.
    pub fn handle_session_events(&mut self, now: Instant) {
        while !self.events.is_empty() {
            for (index, event) in std::mem::take(&mut self.events) {
                self.on_event(index, event, now);
            }
        }
    }

    fn on_event(&mut self, index: SessionIndex, event: PeerEvent, now: Instant) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let session = peer.session;
        match event {
            PeerEvent::Connected => {
                self.send_event(ShardEvent::Connected {
                    session,
                    shard: self.id,
                });
                self.refresh_subscriptions(index, now);
            }
            PeerEvent::Closed(reason) => {
                self.close(index);
                self.send_event(ShardEvent::Closed {
                    session,
                    reason,
                    failure: None,
                });
            }
            PeerEvent::HandshakeFailed { kind, reason } => {
                self.close(index);
                self.report.handshake_failures[kind as usize] += 1;
                self.send_event(ShardEvent::Closed {
                    session,
                    reason,
                    failure: Some(kind),
                });
            }
            PeerEvent::TracksChanged { gone } => self.publish(index, &gone, now),
            PeerEvent::Offer(offer) => self.send_event(ShardEvent::Offer {
                session,
                revision: offer.revision,
                sdp: offer.sdp,
                mids: offer.mids,
            }),
            PeerEvent::Negotiated => self.refresh_subscriptions(index, now),
            PeerEvent::KeyframeWanted(subscription) => {
                let at = SubscriberIndex {
                    session: index,
                    subscription,
                };
                if let Some(subscription) = self.peers.subscription(at) {
                    subscription.needs_keyframe(now);
                    self.get_keyframe(at, now);
                }
            }
            PeerEvent::Measured(sample) => self.report.quality.record(sample),
            PeerEvent::EstimateChanged => self.dirty.mark(index),
            PeerEvent::Undecodable(track) => self.report_undecodable(index, track),
            PeerEvent::Rejected(track) => self.send_event(ShardEvent::Layer {
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
                self.send_to_control(changed);
            }
        }
    }
}
