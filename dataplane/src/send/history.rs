//! The latest packets of a track, by layer and the publisher's sequence number: what all its
//! subscribers on a shard are answered from when they ask for a packet again.

use crate::key::LayerIndex;
use crate::limits::{HISTORY_PACKETS, MAX_LAYERS};
use crate::track::MediaPacket;

/// A ring for each layer; allocated when its first packet comes.
#[derive(Default)]
pub struct History {
    by_layer: [Vec<Option<MediaPacket>>; MAX_LAYERS],
}

impl History {
    /// Keeps `packet`, instead of the one [`HISTORY_PACKETS`] before it.
    pub fn keep(&mut self, packet: &MediaPacket) {
        let ring = &mut self.by_layer[packet.layer.index()];
        if ring.is_empty() {
            ring.resize(HISTORY_PACKETS, None);
        }
        ring[place(packet.seq)] = Some(packet.clone());
    }

    /// The packet with that sequence number, if it is still kept.
    pub fn get(&self, layer: LayerIndex, seq: u64) -> Option<&MediaPacket> {
        let slot = self.by_layer[layer.index()].get(place(seq))?;
        slot.as_ref().filter(|packet| packet.seq == seq)
    }

    /// Forgets everything: nobody is left to ask.
    pub fn clear(&mut self) {
        self.by_layer = Default::default();
    }
}

fn place(seq: u64) -> usize {
    (seq % HISTORY_PACKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::packet;

    #[test]
    fn packets_are_kept_by_layer_until_as_many_followed() {
        let mut history = History::default();
        assert!(history.get(LayerIndex(0), 3).is_none());
        history.keep(&packet(0, 3, true));
        history.keep(&packet(1, 3, false));
        assert!(history.get(LayerIndex(0), 3).unwrap().keyframe);
        assert!(!history.get(LayerIndex(1), 3).unwrap().keyframe);
        assert!(
            history
                .get(LayerIndex(0), 3 + HISTORY_PACKETS as u64)
                .is_none()
        );
        history.keep(&packet(0, 3 + HISTORY_PACKETS as u64, false));
        assert!(history.get(LayerIndex(0), 3).is_none());
        history.clear();
        assert!(history.get(LayerIndex(1), 3).is_none());
    }
}
