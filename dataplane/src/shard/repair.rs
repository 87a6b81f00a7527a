//! Packets from the history of a track: retransmissions, and the newest keyframe for a new subscriber.

use std::time::Instant;

use super::state::Shard;
use crate::drop_reason::DropReason;
use crate::key::{LayerIndex, SessionIndex, SubscriberIndex, TrackKey};
use crate::limits::YOUNG_KEYFRAME;
use crate::media::packet::MediaPacket;
use crate::peer::subscribe::Subscriber;
use crate::send::queue::SendContext;
use crate::send::single;

impl Shard {
    /// Sends the packets again that session `index` reported as lost.
    pub(crate) fn resend(&mut self, index: SessionIndex, now: Instant) {
        let mut lost = std::mem::take(&mut self.out.lost);
        for (slot, seq) in lost.drain(..) {
            match self.resend_one(index, slot, seq, now) {
                Ok(()) => self.report.resent += 1,
                Err(reason) => self.report.drops.count(reason),
            }
        }
        self.out.lost = lost; // keeps its allocation
    }

    fn resend_one(
        &mut self,
        index: SessionIndex,
        slot: usize,
        seq: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(index).ok_or(DropReason::NotResent)?;
        let path = peer.paths.media().ok_or(DropReason::NotConnected)?;
        let subscriber = peer.subscriber().ok_or(DropReason::NotResent)?;
        let Subscriber {
            slots,
            send,
            subscriptions,
            ..
        } = subscriber;
        let subscription = slots[slot].playing().map(|sub| &subscriptions[sub]);
        let subscription = subscription.ok_or(DropReason::NotResent)?;
        let tracks = &mut self.tracks;
        let mut context = SendContext {
            queue: self.egress.queues.to(path.remote),
            path,
            now,
            report: &mut self.report,
        };
        single::resend(&mut slots[slot].stream, send, seq, &mut context, |sent| {
            if sent.track != subscription.track {
                return None; // the number was used for an earlier track of the m-line
            }
            let entry = tracks.get_mut(sent.track)?;
            let packet = entry.history.get(sent.layer, sent.epoch, sent.seq)?;
            Some((packet, subscription.encoding(packet)?))
        })
    }

    /// Starts subscription `at` with the newest keyframe of the layer in the history, and the packets after it. False
    /// if the history has no recent keyframe.
    pub(super) fn start_from_history(
        &mut self,
        at: SubscriberIndex,
        track: TrackKey,
        layer: LayerIndex,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.tracks.get_mut(track) else {
            return false;
        };
        let since = entry.history.since_keyframe(layer, now, YOUNG_KEYFRAME);
        let packets: Vec<MediaPacket> = since.cloned().collect();
        let mut starts = false;
        self.guard(at.session, |shard| {
            for packet in &packets {
                match shard.send_alone(at, packet, now) {
                    Ok(sent) => starts |= sent,
                    Err(reason) => shard.report.drops.count(reason),
                }
            }
        });
        if starts {
            self.forwarding.switched.push(at);
        }
        starts
    }

    /// Sends `packet` to subscription `at` as a datagram of its own. True when it was sent.
    fn send_alone(
        &mut self,
        at: SubscriberIndex,
        packet: &MediaPacket,
        now: Instant,
    ) -> Result<bool, DropReason> {
        let peer = self.peers.get_mut(at.session);
        let peer = peer.ok_or(DropReason::NotConnected)?;
        let path = peer.paths.media().ok_or(DropReason::NotConnected)?;
        let subscriber = peer.subscriber().ok_or(DropReason::NotConnected)?;
        let Some((slot, planned, _)) = subscriber.plan(at.subscription, packet, false)? else {
            return Ok(false);
        };
        let waits = subscriber.waited(at.subscription, packet, now);
        waits.for_each(|sample| self.report.quality.record(sample));
        let mut context = SendContext {
            queue: self.egress.queues.to(path.remote),
            path,
            now,
            report: &mut self.report,
        };
        let Subscriber { slots, send, .. } = subscriber;
        single::send(
            &mut slots[slot].stream,
            send,
            (planned, packet),
            &mut context,
        )?;
        Ok(true)
    }
}
