//! Layers of subscribers: collects the inputs of [`crate::media::layer_allocation`], and applies its result.

use std::time::Instant;

use super::state::Shard;
use crate::key::{LayerIndex, SessionIndex, SubscriberIndex, SubscriptionIndex, TrackKey};
use crate::limits::MAX_LAYERS;
use crate::media::layer_allocation::{Candidate, allocate, target};
use crate::peer::session::Role;

/// Bits per second reserved for each audio subscription, headers included.
const AUDIO_BPS: u64 = 60_000;

/// A video subscription that competes for the session's bandwidth.
struct Competitor {
    sub: SubscriptionIndex,
    track: TrackKey,
    candidate: Candidate,
}

impl Shard {
    /// Chooses layers for each session in the dirty set.
    pub(crate) fn allocate_dirty(&mut self, now: Instant) {
        while let Some(index) = self.dirty.pop() {
            self.allocate(index, now);
        }
    }

    fn allocate(&mut self, index: SessionIndex, now: Instant) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let session = peer.session;
        let Role::Subscribe(subscriber) = &peer.role else {
            return;
        };
        let audio = subscriber
            .subscriptions
            .iter()
            .filter(|(_, sub)| sub.kind.is_audio())
            .count();
        let reserved = audio as u64 * AUDIO_BPS;
        let budget = subscriber.send.estimate_bps(now).saturating_sub(reserved);
        let competitors = self.competitors(index);
        let candidates: Vec<Candidate> = competitors.iter().map(|c| c.candidate).collect();
        let given = allocate(&candidates, budget);
        tracing::debug!(session = session.0, budget, ?given, "layers chosen");
        for (competitor, layer) in competitors.iter().zip(given.iter().copied()) {
            self.set_target(index, competitor, layer, now);
        }
        let has_choice = candidates.iter().any(|candidate| candidate.layers > 1);
        let target = has_choice.then(|| target(&candidates, &given));
        if let Some(peer) = self.peers.get_mut(index) {
            peer.set_probe_targets(target, reserved, now);
            let deadline = peer.deadline();
            self.timers.set(index.0, deadline);
        }
    }

    fn competitors(&mut self, index: SessionIndex) -> Vec<Competitor> {
        let Some(peer) = self.peers.get_mut(index) else {
            return Vec::new();
        };
        let Role::Subscribe(subscriber) = &peer.role else {
            return Vec::new();
        };
        let videos = subscriber.subscriptions.iter();
        let videos = videos.filter(|(_, sub)| sub.kind.is_video() && sub.codecs.is_some());
        let tracks = &mut self.tracks;
        videos
            .filter_map(|(sub, subscription)| {
                let entry = tracks.get_mut(subscription.track)?;
                let layers = &entry.info.as_ref()?.spec.layers;
                let mut heights = [0; MAX_LAYERS];
                for (height, layer) in heights.iter_mut().zip(layers) {
                    *height = layer.height;
                }
                let candidate = Candidate {
                    params: subscription.params,
                    layers: layers.len().max(1) as u8,
                    heights,
                    status: entry.status,
                    current: subscription.current(),
                };
                Some(Competitor {
                    sub,
                    track: subscription.track,
                    candidate,
                })
            })
            .collect()
    }

    fn set_target(
        &mut self,
        peer: SessionIndex,
        competitor: &Competitor,
        layer: Option<LayerIndex>,
        now: Instant,
    ) {
        let at = SubscriberIndex {
            session: peer,
            subscription: competitor.sub,
        };
        let Some(subscription) = self.peers.subscription(at) else {
            return;
        };
        let was_flowing = subscription.current().is_some();
        if !subscription.set_target(layer) {
            return;
        }
        self.recount(at);
        self.report_demand(competitor.track);
        self.get_keyframe(at, now);
        if layer.is_none() && was_flowing {
            self.report_layer(peer, competitor.track, None, None);
        }
    }
}
