//! Hop 5: chooses the packets that a session gets, and gives them their numbers. Previous: [`super::fanout`], next:
//! [`super::seal`].

use std::time::Instant;

use crate::drop_reason::DropReason;
use crate::key::{SessionIndex, SubscriberIndex};
use crate::media::subscription::Verdict;
use crate::send::queue::SendPath;
use crate::shard::forwarding::{Forwarding, Numbered, Undecodable};
use crate::shard::state::Shard;

/// Numbers the pending packets of session `index`. Returns the path to send them on; `None` if there is nothing to
/// send.
pub fn number(shard: &mut Shard, index: SessionIndex, now: Instant) -> Option<SendPath> {
    let Shard {
        peers,
        forwarding,
        egress,
        report,
        ..
    } = shard;
    let Forwarding {
        backlog,
        pending,
        numbered,
        switched,
        undecodable,
        ..
    } = forwarding;
    numbered.clear();
    let peer = peers.get_mut(index)?;
    let Some(path) = peer.paths.media() else {
        // A session without a path is not connected yet, so its packets are dropped.
        let batches = pending.iter().map(|packets| backlog.batch(packets.batch));
        let packets = batches.map(|batch| batch.packets.len()).sum();
        report.drops.count_many(DropReason::NotConnected, packets);
        return None;
    };
    let subscriber = peer.subscriber()?;
    for packets in pending.iter() {
        let (sub, batch) = (packets.sub, backlog.batch(packets.batch));
        for &place in &batch.packets {
            let packet = backlog.packet(place);
            match subscriber.plan(
                sub,
                packet,
                egress.queues.must_drop(path.remote, packet.layer),
            ) {
                Ok(Some((slot, planned, verdict))) => {
                    if verdict == Verdict::Switch {
                        switched.push(SubscriberIndex {
                            session: index,
                            subscription: sub,
                        });
                    }
                    if verdict == Verdict::Switch || packet.keyframe {
                        let waits = subscriber.waited(sub, packet, now);
                        waits.for_each(|sample| report.quality.record(sample));
                    }
                    numbered.push(Numbered {
                        packet: place,
                        slot,
                        planned,
                    });
                }
                Ok(None) => {}
                Err(reason) => {
                    report.drops.count(reason);
                    if reason == DropReason::NoCodec {
                        let track = subscriber.take_undecodable(sub, packet);
                        let found = track.map(|track| Undecodable {
                            at: SubscriberIndex {
                                session: index,
                                subscription: sub,
                            },
                            track,
                            codec: packet.codec,
                        });
                        undecodable.extend(found);
                    }
                }
            }
        }
    }
    (!numbered.is_empty()).then_some(path)
}
