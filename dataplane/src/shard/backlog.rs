//! Media that some subscribers of this shard have yet to get: its packets, and which of them are of one track.
//!
//! A packet is named by its place, which counts on and wraps. It is kept until everybody who waited for it was served
//! ([`Work`]), whatever came in meanwhile.

use std::collections::VecDeque;

use super::work::{Moment, Work};
use crate::key::TrackKey;
use crate::limits::BACKLOG_PACKETS;
use crate::track::MediaPacket;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Backlog {
    packets: VecDeque<MediaPacket>,
    /// Place of the first.
    first_packet: u32,
    /// As many of the packets, from the first, were told to their subscribers.
    told: usize,
    batches: VecDeque<Batch>,
    /// Place of the first.
    first_batch: u32,
    /// As many of the batches are of a round.
    in_rounds: usize,
    rounds: VecDeque<Round>,
    /// Lists whose allocations are kept.
    spare: Vec<Vec<u32>>,
}

/// The packets of one track that came together.
#[derive(Debug)]
pub struct Batch {
    /// Which track.
    pub track: TrackKey,
    /// Places of its packets, in order.
    pub packets: Vec<u32>,
}

/// What was told to subscribers at one time.
#[derive(Debug, Clone, Copy)]
struct Round {
    packets: usize,
    batches: usize,
    /// When all who wait for them did.
    told: Moment,
}

impl Backlog {
    /// Adds a packet, of which nobody was told yet.
    pub fn push(&mut self, packet: MediaPacket) {
        self.packets.push_back(packet);
    }

    /// There is so much that no more should be taken in before some of it is gone.
    pub fn is_full(&self) -> bool {
        self.packets.len() >= BACKLOG_PACKETS
    }

    /// The packet at `place`.
    pub fn packet(&self, place: u32) -> &MediaPacket {
        &self.packets[place.wrapping_sub(self.first_packet) as usize]
    }

    /// Places of the packets that nobody was told of yet.
    pub fn untold(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.first_packet;
        let counts = self.told..self.packets.len();
        counts.map(move |count| first.wrapping_add(count as u32))
    }

    /// The batch at `place`.
    pub fn batch(&self, place: u32) -> &Batch {
        &self.batches[place.wrapping_sub(self.first_batch) as usize]
    }

    /// A new one, of `track`; its place.
    pub fn add_batch(&mut self, track: TrackKey) -> u32 {
        let packets = self.spare.pop().unwrap_or_default();
        self.batches.push_back(Batch { track, packets });
        self.first_batch.wrapping_add(self.batches.len() as u32 - 1)
    }

    /// Adds the packet at `packet` to the batch at `place`.
    pub fn add_to_batch(&mut self, place: u32, packet: u32) {
        let index = place.wrapping_sub(self.first_batch) as usize;
        self.batches[index].packets.push(packet);
    }

    /// Places of the batches that were made since the last round.
    pub fn new_batches(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.first_batch;
        let counts = self.in_rounds..self.batches.len();
        counts.map(move |count| first.wrapping_add(count as u32))
    }

    /// All packets were told to who gets them: that is what `work` waits for.
    pub fn close_round(&mut self, work: &Work) {
        let packets = self.packets.len() - self.told;
        if packets == 0 {
            return;
        }
        self.rounds.push_back(Round {
            packets,
            batches: self.batches.len() - self.in_rounds,
            told: work.moment(),
        });
        (self.told, self.in_rounds) = (self.packets.len(), self.batches.len());
    }

    /// Forgets what everybody has got.
    pub fn tidy(&mut self, work: &Work) {
        while let Some(round) = self.rounds.front().copied()
            && work.is_past(round.told)
        {
            self.rounds.pop_front();
            self.packets.drain(..round.packets);
            self.told -= round.packets;
            self.in_rounds -= round.batches;
            self.first_packet = self.first_packet.wrapping_add(round.packets as u32);
            self.first_batch = self.first_batch.wrapping_add(round.batches as u32);
            for mut batch in self.batches.drain(..round.batches) {
                batch.packets.clear();
                self.spare.push(batch.packets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::work::{LineKind, Portion};
    use crate::subscription::tests::packet;

    fn tell(backlog: &mut Backlog, work: &mut Work, index: usize, seq: u64) -> (u32, u32) {
        backlog.push(packet(0, seq, false));
        let batch = backlog.add_batch(TrackKey(seq));
        let place = backlog.untold().next().unwrap();
        backlog.add_to_batch(batch, place);
        assert_eq!(backlog.new_batches().collect::<Vec<_>>(), [batch]);
        work.add(index, Portion { batch, sub: 0 }, LineKind::Long);
        backlog.close_round(work);
        assert_eq!(backlog.untold().count(), 0);
        (batch, place)
    }

    #[test]
    fn a_packet_is_kept_until_all_who_waited_for_it_were_served() {
        let (mut work, mut portions) = (Work::default(), Vec::new());
        let mut backlog = Backlog {
            first_packet: u32::MAX, // places wrap
            first_batch: u32::MAX - 1,
            ..Backlog::default()
        };
        let places: Vec<_> = (0..4)
            .map(|seq| tell(&mut backlog, &mut work, seq as usize, seq))
            .collect();
        assert_eq!(places[1], (u32::MAX, 0));
        for served in 0..4 {
            backlog.tidy(&work);
            assert_eq!(backlog.packets.len(), 4 - served);
            for (seq, (batch, place)) in (0..).zip(&places).skip(served) {
                assert_eq!(backlog.packet(*place).seq, seq);
                assert_eq!(backlog.batch(*batch).packets, [*place]);
                assert_eq!(backlog.batch(*batch).track, TrackKey(seq));
            }
            work.take(&mut portions).unwrap();
        }
        backlog.tidy(&work);
        assert!(backlog.packets.is_empty() && backlog.batches.is_empty());
        assert_eq!(backlog.spare.len(), 4, "lists are used again");
    }

    #[test]
    fn what_nobody_waits_for_is_forgotten_at_once() {
        let work = Work::default();
        let mut backlog = Backlog::default();
        (0..BACKLOG_PACKETS as u64).for_each(|seq| backlog.push(packet(0, seq, false)));
        assert!(backlog.is_full());
        backlog.close_round(&work);
        backlog.tidy(&work);
        assert!(!backlog.is_full() && backlog.packets.is_empty());
    }
}
