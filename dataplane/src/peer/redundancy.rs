//! Recovers lost audio frames from RFC 2198 redundancy in later packets, for subscribers that did not negotiate
//! redundancy. Other subscribers recover the frames themselves.

use std::collections::VecDeque;
use std::sync::Arc;

use spillway_wire::red::{self, Block};

use crate::media::extensions::CarriedExtensions;
use crate::media::packet::MediaPacket;

/// Sequence numbers and timestamps of the latest packets of one track.
#[derive(Debug, Default)]
pub(super) struct Redundancy {
    epoch: u32,
    /// Sequence number and timestamp, sorted by sequence number.
    received: VecDeque<(u64, u32)>,
}

/// Number of remembered packets: as far as redundancy and reordering reach back.
const REMEMBERED: usize = 32;

impl Redundancy {
    /// Lost packets that the redundancy of `packet` contains, the oldest first.
    pub(super) fn recover(&mut self, packet: &MediaPacket) -> Vec<MediaPacket> {
        if self.epoch != packet.epoch {
            self.epoch = packet.epoch;
            self.received.clear();
        }
        self.insert(packet.seq, packet.time);
        if packet.primary.is_none() {
            return Vec::new();
        }
        let Some(redundant) = red::read(&packet.payload) else {
            return Vec::new();
        };
        let mut recovered = Vec::new();
        for block in redundant.earlier() {
            if block.payload_type != redundant.payload_type || block.payload.is_empty() {
                continue;
            }
            let time = packet.time.wrapping_sub(block.time_offset);
            let Some(seq) = self.missing_at(time, packet) else {
                continue;
            };
            self.insert(seq, time);
            recovered.push(packet_of(&block, (seq, time), packet));
        }
        recovered
    }

    fn insert(&mut self, seq: u64, time: u32) {
        let place = self.received.partition_point(|(known, _)| *known < seq);
        if self
            .received
            .get(place)
            .is_some_and(|(known, _)| *known == seq)
        {
            return;
        }
        self.received.insert(place, (seq, time));
        if self.received.len() > REMEMBERED {
            self.received.pop_front();
        }
    }

    /// The sequence number of the frame with timestamp `time`, if it was not received. Redundant blocks have no
    /// sequence numbers. The number is interpolated between the packets received before and after, which requires
    /// frames of equal length.
    fn missing_at(&self, time: u32, packet: &MediaPacket) -> Option<u64> {
        let age = |of: u32| packet.time.wrapping_sub(of) as i32;
        let after = self
            .received
            .iter()
            .position(|(_, at)| age(*at) < age(time))?;
        let (seq_before, time_before) = *self.received.get(after.checked_sub(1)?)?;
        let (seq_after, time_after) = self.received[after];
        let steps = u32::try_from(seq_after - seq_before).ok()?;
        let step = time_after.wrapping_sub(time_before) / steps;
        let distance = time.wrapping_sub(time_before);
        let is_frame = step > 0 && distance > 0 && distance.is_multiple_of(step);
        let count = distance.checked_div(step).filter(|_| is_frame)?;
        (count < steps).then(|| seq_before + u64::from(count))
    }
}

fn packet_of(block: &Block<'_>, (seq, time): (u64, u32), from: &MediaPacket) -> MediaPacket {
    let mut payload = Vec::with_capacity(1 + block.payload.len());
    payload.push(block.payload_type); // the header of the last block
    payload.extend_from_slice(block.payload);
    MediaPacket {
        primary: Some(Arc::from(block.payload)),
        seq,
        time,
        marker: false,
        audio_level: None,
        extensions: CarriedExtensions::default(),
        payload: payload.into(),
        ..from.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::subscription::tests::packet;

    const FRAME: u32 = 960;

    /// Packet `seq` with the frames at these distances before it; each byte of frame n is n.
    fn redundant(seq: u64, distances: &[u64]) -> MediaPacket {
        let mut payload = Vec::new();
        for distance in distances {
            let offset = (*distance as u32 * FRAME) << 10 | 1;
            payload.push(0x80 | 111);
            payload.extend_from_slice(&offset.to_be_bytes()[1..]);
        }
        payload.push(111);
        payload.extend(distances.iter().map(|distance| (seq - distance) as u8));
        payload.push(seq as u8);
        MediaPacket {
            time: (seq as u32).wrapping_mul(FRAME).wrapping_sub(50 * FRAME), // wraps
            primary: Some(Arc::from([seq as u8])),
            payload: payload.into(),
            ..packet(0, seq, true)
        }
    }

    fn recovered(redundancy: &mut Redundancy, packet: &MediaPacket) -> Vec<(u64, u8)> {
        let packets = redundancy.recover(packet);
        let of = |packet: MediaPacket| {
            assert_eq!(red::primary(&packet.payload), packet.primary.as_deref());
            (packet.seq, packet.primary.unwrap()[0])
        };
        packets.into_iter().map(of).collect()
    }

    #[test]
    fn what_is_missing_comes_back_once_with_its_numbers() {
        let mut redundancy = Redundancy::default();
        let mut got =
            |seq, distances: &[u64]| recovered(&mut redundancy, &redundant(seq, distances));
        assert_eq!(got(40, &[2, 1]), [], "nothing is known of before");
        assert_eq!(got(41, &[2, 1]), []);
        assert_eq!(got(43, &[2, 1]), [(42, 42)]);
        assert_eq!(got(44, &[2, 1]), [], "once");
        assert_eq!(got(48, &[2, 1]), [(46, 46), (47, 47)]);
        assert_eq!(got(45, &[2, 1]), [], "late, and it was not made up for");
        assert_eq!(got(51, &[2]), [(49, 49)], "with distance 2 alone");
    }

    #[test]
    fn times_that_fit_no_frame_are_left_alone() {
        let mut redundancy = Redundancy::default();
        redundancy.recover(&redundant(10, &[]));
        let mut odd = redundant(13, &[1]);
        odd.time = odd.time.wrapping_add(7);
        assert!(redundancy.recover(&odd).is_empty());
        let mut next_epoch = redundant(15, &[1]);
        next_epoch.epoch = 1;
        assert!(
            redundancy.recover(&next_epoch).is_empty(),
            "of other numbers"
        );
    }
}
