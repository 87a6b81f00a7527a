//! RTCP from a subscriber: authenticates, decrypts and handles reports, NACKs, feedback and keyframe requests.

use std::time::Instant;

use spillway_wire::rtcp::{self, Packet};

use super::output::{Output, PeerEvent};
use super::subscribe::Subscriber;
use crate::drop_reason::DropReason;
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_NACKED, MAX_RTCP_SENDERS};
use crate::report::Sample;

impl Subscriber {
    /// Handles an SRTCP datagram. True when it was authenticated.
    pub(super) fn listen(&mut self, datagram: &[u8], now: Instant, out: &mut Output) -> bool {
        let Some(opener) = &mut self.rtcp_opener else {
            out.drops.count(DropReason::NotConnected);
            return false;
        };
        let mut room = [0; MAX_DATAGRAM_BYTES];
        let Some(room) = room.get_mut(..datagram.len()) else {
            out.drops.count(DropReason::Truncated);
            return false;
        };
        room.copy_from_slice(datagram);
        let Ok(compound) = opener.open(room, MAX_RTCP_SENDERS) else {
            out.drops.count(DropReason::BadRtcp);
            return false;
        };
        for packet in rtcp::packets(compound) {
            match packet {
                Ok(packet) => self.handle_rtcp(&packet, now, out),
                Err(_framing) => out.drops.count(DropReason::BadRtcp),
            }
        }
        true
    }

    fn handle_rtcp(&mut self, packet: &Packet<'_>, now: Instant, out: &mut Output) {
        match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                let mut worst = None;
                for block in blocks.clone() {
                    let Some(slot) = self.slot_by_ssrc.get(&block.ssrc) else {
                        continue;
                    };
                    let loss = Sample::Loss(f64::from(block.fraction_lost) / 256.0);
                    out.events.push(PeerEvent::Measured(loss));
                    if let Some(rtt) = self.slots[*slot].stream.reported(&block, now) {
                        self.send.measured_rtt(rtt);
                        out.events.push(PeerEvent::Measured(Sample::Rtt(rtt)));
                    }
                    if self.slots[*slot].stream.video_octets() > 0 {
                        worst = worst.max(Some(block.fraction_lost));
                    }
                }
                if let Some(worst) = worst {
                    self.losses(worst, now, out);
                    let estimate = self.send.estimate_bps(now);
                    if estimate > 0 {
                        let estimate = Sample::Estimate(estimate as f64 / 8.0);
                        out.events.push(PeerEvent::Measured(estimate));
                    }
                }
            }
            Packet::Nack { media_ssrc, lost } => {
                if let Some(slot) = self.slot_by_ssrc.get(media_ssrc) {
                    for seq in lost.clone() {
                        if out.lost.len() < MAX_NACKED {
                            out.lost.push((*slot, seq));
                        } else {
                            out.drops.count(DropReason::NotResent);
                        }
                    }
                }
            }
            Packet::Pli { media_ssrc } => self.wants_keyframe(*media_ssrc, out),
            Packet::Fir { entries } => {
                for (ssrc, _number) in entries.clone() {
                    self.wants_keyframe(ssrc, out);
                }
            }
            Packet::TransportFeedback(feedback) => {
                if let Some(estimator) = self.send.estimator() {
                    if estimator.feedback(feedback, now).is_err() {
                        out.drops.count(DropReason::BadFeedback);
                    }
                    if estimator.take_changed() {
                        out.events.push(PeerEvent::EstimateChanged);
                    }
                }
            }
            Packet::Remb(remb) => {
                if self.send.remb(remb.bps, now) {
                    out.events.push(PeerEvent::EstimateChanged);
                }
            }
            Packet::Bye | Packet::Other => {}
        }
    }

    /// Passes the highest loss of all streams, in 256ths, to the bandwidth estimate.
    fn losses(&mut self, worst: u8, now: Instant, out: &mut Output) {
        let octets = self.slots.iter().map(|slot| slot.stream.video_octets());
        let octets = octets.fold(0, u32::wrapping_add);
        if self.send.reported(f64::from(worst) / 256.0, octets, now) {
            out.events.push(PeerEvent::EstimateChanged);
        }
    }

    fn wants_keyframe(&self, ssrc: u32, out: &mut Output) {
        let slot = self.slot_by_ssrc.get(&ssrc);
        let sub = slot.and_then(|slot| self.slots[*slot].playing());
        out.events.extend(sub.map(PeerEvent::KeyframeWanted));
    }
}
