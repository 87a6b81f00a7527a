//! Notifications of a shard to other threads and to its subscribers.

use super::forwarding::Undecodable;
use super::state::Shard;
use crate::key::{LayerIndex, SessionIndex, ShardId, TrackKey};
use crate::media::track::TrackInfo;
use crate::mesh::message::{ShardEvent, ToControl, ToShard};
use crate::peer::output::NO_CODEC;

impl Shard {
    /// Reports the new layers of subscriptions that switched while packets were sealed.
    pub fn after_switches(&mut self) {
        for at in std::mem::take(&mut self.forwarding.switched) {
            let Some(subscription) = self.peers.subscription(at) else {
                continue;
            };
            let (track, layer) = (subscription.track, subscription.current());
            let info = self
                .tracks
                .get_mut(track)
                .and_then(|entry| entry.info.clone());
            self.recount(at);
            self.report_layer(at.session, track, layer, info.as_deref());
            self.report_demand(track);
        }
        for found in std::mem::take(&mut self.forwarding.undecodable) {
            if !self.offer_first(&found) {
                self.report_undecodable(found.at.session, found.track);
            }
        }
    }

    /// Tells the control thread that the publisher of `track` now sends its codec number `codec`.
    pub fn report_codec(&mut self, track: TrackKey, codec: u8) {
        let info = self
            .tracks
            .get_mut(track)
            .and_then(|entry| entry.info.as_ref());
        let Some(codec) = info.and_then(|info| info.codecs.get(usize::from(codec))) else {
            return;
        };
        let codec = *codec;
        // If the message is lost, the next change sends it again; offers have all codecs in any case.
        let _ = self.outbox.send_control(ToControl::Sends { track, codec });
    }

    /// Offers the subscriber the published codec as first preference. False when another offer cannot help.
    fn offer_first(&mut self, found: &Undecodable) -> bool {
        let peer = found.at.session;
        let entry = self.tracks.get_mut(found.track);
        let info = entry.and_then(|entry| entry.info.clone());
        let (Some(info), Some(session)) = (info, self.peers.get_mut(peer)) else {
            return true;
        };
        let is_offered =
            session.offer_first(found.at.subscription, found.codec, &info, &mut self.out);
        self.absorb(peer);
        is_offered
    }

    /// Reports that session `peer` negotiated no codec of the publisher of `track`.
    pub(crate) fn report_undecodable(&mut self, peer: SessionIndex, track: TrackKey) {
        let Some(peer) = self.peers.get(peer) else {
            return;
        };
        let session = peer.session;
        self.send_event(ShardEvent::Layer {
            session,
            track,
            rid: String::new(),
            active: false,
            reason: NO_CODEC,
        });
    }

    pub(crate) fn report_layer(
        &mut self,
        peer: SessionIndex,
        track: TrackKey,
        layer: Option<LayerIndex>,
        info: Option<&TrackInfo>,
    ) {
        let Some(peer) = self.peers.get_mut(peer) else {
            return;
        };
        let rid = layer.and_then(|layer| info.map(|info| info.rid_of(layer).to_owned()));
        let session = peer.session;
        let active = layer.is_some();
        self.send_event(ShardEvent::Layer {
            session,
            track,
            rid: rid.unwrap_or_default(),
            active,
            reason: "",
        });
    }

    /// Sends an event to the control plane. If its queue is full, the control plane reads the state later.
    pub(crate) fn send_event(&mut self, event: ShardEvent) {
        self.send_to_control(ToControl::Event(event));
    }

    /// Sends a message to the control thread. If its backlog is full, the message is lost and logged.
    pub(crate) fn send_to_control(&mut self, message: ToControl) {
        let name = message.name();
        if self.outbox.send_control(message).is_err() {
            tracing::warn!(
                shard = self.id.0,
                message = name,
                "a message was lost: the control thread does not read"
            );
        }
    }

    /// Sends a message to a shard, through its mailbox. The shard may be this shard.
    pub(crate) fn send_to_shard(&mut self, shard: ShardId, letter: ToShard) {
        if self.outbox.send(shard, letter).is_err() {
            tracing::warn!(
                from = self.id.0,
                to = shard.0,
                "a message was lost: the shard does not read"
            );
        }
    }

    pub(crate) fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let count = u16::try_from(self.outbox.mesh().shards()).expect("MAX_SHARDS fits");
        let me = self.id;
        (0..count).map(ShardId).filter(move |shard| *shard != me)
    }
}
