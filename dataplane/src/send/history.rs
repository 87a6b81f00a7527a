//! The latest packets of a track on this shard, by layer and the publisher's sequence number. Used for retransmissions
//! to all subscribers of the track, and for the first packets of a new subscriber.

use std::time::{Duration, Instant};

use crate::key::LayerIndex;
use crate::limits::{HISTORY_PACKETS, MAX_LAYERS};
use crate::media::packet::MediaPacket;

/// A ring of packets per layer; a ring is allocated with its layer's first packet.
#[derive(Default)]
pub struct History {
    by_layer: [Layer; MAX_LAYERS],
}

#[derive(Default)]
struct Layer {
    ring: Vec<Option<MediaPacket>>,
    /// Highest epoch and sequence number so far.
    newest: Option<(u32, u64)>,
    /// Sequence number and arrival time of the newest keyframe of the newest epoch.
    keyframe: Option<(u64, Instant)>,
}

impl History {
    /// Stores `packet` in place of the packet [`HISTORY_PACKETS`] sequence numbers before it.
    pub fn keep(&mut self, packet: &MediaPacket) {
        let layer = &mut self.by_layer[packet.layer.index()];
        if layer.ring.is_empty() {
            layer.ring.resize(HISTORY_PACKETS, None);
        }
        layer.ring[place(packet.seq)] = Some(packet.clone());
        match &mut layer.newest {
            Some((epoch, seq)) if *epoch == packet.epoch => *seq = packet.seq.max(*seq),
            newest => {
                *newest = Some((packet.epoch, packet.seq));
                layer.keyframe = None;
            }
        }
        if packet.keyframe && layer.keyframe.is_none_or(|(seq, _)| seq < packet.seq) {
            layer.keyframe = Some((packet.seq, packet.arrived));
        }
    }

    /// The packet with this epoch and sequence number, if the history still has it.
    pub fn get(&self, layer: LayerIndex, epoch: u32, seq: u64) -> Option<&MediaPacket> {
        self.by_layer[layer.index()].get(epoch, seq)
    }

    /// The newest keyframe and all packets after it, if the first packet of the keyframe arrived at most `age` before
    /// `now`.
    pub fn since_keyframe(
        &self,
        layer: LayerIndex,
        now: Instant,
        age: Duration,
    ) -> impl Iterator<Item = &MediaPacket> {
        let layer = &self.by_layer[layer.index()];
        let run = layer.newest.zip(layer.keyframe);
        let run = run.filter(|(_, (_, at))| now.saturating_duration_since(*at) <= age);
        let run = run.filter(|((_, newest), (first, _))| newest - first < HISTORY_PACKETS as u64);
        let run = run.map(|((epoch, newest), (first, _))| (epoch, first..=newest));
        let numbers = run
            .into_iter()
            .flat_map(|(epoch, run)| run.map(move |seq| (epoch, seq)));
        numbers.filter_map(|(epoch, seq)| layer.get(epoch, seq))
    }

    /// Removes all packets: the track has no subscribers left.
    pub fn clear(&mut self) {
        self.by_layer = Default::default();
    }
}

impl Layer {
    fn get(&self, epoch: u32, seq: u64) -> Option<&MediaPacket> {
        let packet = self.ring.get(place(seq))?.as_ref()?;
        ((packet.epoch, packet.seq) == (epoch, seq)).then_some(packet)
    }
}

fn place(seq: u64) -> usize {
    (seq % HISTORY_PACKETS as u64) as usize
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::subscription::tests::packet;

    const LOW: LayerIndex = LayerIndex(0);
    const HIGH: LayerIndex = LayerIndex(1);

    #[test]
    fn packets_are_kept_by_layer_until_as_many_followed() {
        let mut history = History::default();
        assert!(history.get(LOW, 0, 3).is_none());
        history.keep(&packet(0, 3, true));
        history.keep(&packet(1, 3, false));
        assert!(history.get(LOW, 0, 3).unwrap().keyframe);
        assert!(history.get(LOW, 1, 3).is_none(), "of another epoch");
        assert!(!history.get(HIGH, 0, 3).unwrap().keyframe);
        let later = 3 + HISTORY_PACKETS as u64;
        assert!(history.get(LOW, 0, later).is_none());
        history.keep(&packet(0, later, false));
        assert!(history.get(LOW, 0, 3).is_none());
        history.clear();
        assert!(history.get(HIGH, 0, 3).is_none());
    }

    #[test]
    fn a_late_subscriber_starts_with_the_newest_keyframe_if_it_is_recent() {
        let (mut history, now) = (History::default(), Instant::now());
        let age = Duration::from_millis(300);
        let at = |ms| now + Duration::from_millis(ms);
        let mut keep = |epoch, seq, keyframe, ms| {
            history.keep(&MediaPacket {
                epoch,
                arrived: at(ms),
                ..packet(0, seq, keyframe)
            });
            let run = history.since_keyframe(LOW, at(ms + 100), age);
            run.map(|packet| packet.seq).collect::<Vec<_>>()
        };
        assert!(keep(0, 8, false, 0).is_empty());
        assert_eq!(keep(0, 9, true, 0), [9]);
        assert_eq!(keep(0, 11, false, 100), [9, 11]);
        assert_eq!(keep(0, 10, false, 200), [9, 10, 11]);
        assert!(keep(0, 12, false, 201).is_empty(), "301 ms old");
        assert_eq!(keep(0, 14, true, 300), [14]);
        assert!(keep(1, 3, false, 310).is_empty(), "new numbers");
        assert_eq!(keep(1, 4, true, 320), [4]);
        assert!(
            keep(1, 4 + HISTORY_PACKETS as u64, false, 330).is_empty(),
            "overwritten"
        );
    }
}
