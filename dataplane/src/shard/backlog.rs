//! Media packets that wait to be sealed for the subscribers of this shard, grouped by track.
//!
//! A packet is identified by its backlog number, a batch by its batch number. Both count up and wrap. A packet is kept
//! until every session that waited for it at the end of its round was served ([`Schedule`]).

use std::collections::VecDeque;
use std::time::Instant;

use super::schedule::{QueuePosition, Schedule};
use crate::key::TrackKey;
use crate::limits::{BACKLOG_PACKETS, BACKLOG_TIME};
use crate::media::packet::MediaPacket;

/// Queue of media packets between hops 4 and 6 of the path. Bounded by `BACKLOG_PACKETS` and `BACKLOG_TIME`.
#[derive(Debug, Default)]
pub struct Backlog {
    packets: VecDeque<MediaPacket>,
    /// Number of the first packet in `packets`.
    first_packet: u32,
    /// Packets that are scheduled, counted from the first.
    scheduled: usize,
    batches: VecDeque<Batch>,
    /// Number of the first batch in `batches`.
    first_batch: u32,
    /// Batches that belong to a closed round, counted from the first.
    in_rounds: usize,
    rounds: VecDeque<Round>,
    /// Empty lists of closed batches, kept for their allocations.
    spare: Vec<Vec<u32>>,
}

/// Packets of one track that were received in one turn of the shard's loop.
#[derive(Debug)]
pub struct Batch {
    /// The track of the packets.
    pub track: TrackKey,
    /// Numbers of the packets, in order of arrival.
    pub packets: Vec<u32>,
}

/// Packets that were scheduled at one time.
#[derive(Debug, Clone, Copy)]
struct Round {
    packets: usize,
    batches: usize,
    /// The schedule is past this position when every session that waited has been served.
    served_at: QueuePosition,
}

impl Backlog {
    /// Adds a packet that is not scheduled yet. Returns false, and does not add the packet, if the shard is overloaded:
    /// `BACKLOG_PACKETS` packets wait, or the first one has waited for `BACKLOG_TIME`.
    pub fn push(&mut self, packet: MediaPacket, now: Instant) -> bool {
        let waits = |first: &MediaPacket| now.saturating_duration_since(first.arrived);
        let is_late = self.packets.front().map(waits) >= Some(BACKLOG_TIME);
        let is_taken = self.packets.len() < BACKLOG_PACKETS && !is_late;
        if is_taken {
            self.packets.push_back(packet);
        }
        is_taken
    }

    /// The packet with number `place`, which must still be in the backlog.
    pub fn packet(&self, place: u32) -> &MediaPacket {
        &self.packets[place.wrapping_sub(self.first_packet) as usize]
    }

    /// Numbers of the packets that are not scheduled yet.
    pub fn unscheduled(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.first_packet;
        let counts = self.scheduled..self.packets.len();
        counts.map(move |count| first.wrapping_add(count as u32))
    }

    /// The batch with number `place`, which must still be in the backlog.
    pub fn batch(&self, place: u32) -> &Batch {
        &self.batches[place.wrapping_sub(self.first_batch) as usize]
    }

    /// Adds an empty batch for `track`. Returns the number of the batch.
    pub fn add_batch(&mut self, track: TrackKey) -> u32 {
        let packets = self.spare.pop().unwrap_or_default();
        self.batches.push_back(Batch { track, packets });
        self.first_batch.wrapping_add(self.batches.len() as u32 - 1)
    }

    /// Adds packet number `packet` to batch number `place`.
    pub fn add_to_batch(&mut self, place: u32, packet: u32) {
        let index = place.wrapping_sub(self.first_batch) as usize;
        self.batches[index].packets.push(packet);
    }

    /// Numbers of the batches that were added since the last round was closed.
    pub fn new_batches(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.first_batch;
        let counts = self.in_rounds..self.batches.len();
        counts.map(move |count| first.wrapping_add(count as u32))
    }

    /// Closes a round: all its packets are scheduled. They are kept until `work` has served every session that waits
    /// now.
    pub fn close_round(&mut self, work: &Schedule) {
        let packets = self.packets.len() - self.scheduled;
        if packets == 0 {
            return;
        }
        self.rounds.push_back(Round {
            packets,
            batches: self.batches.len() - self.in_rounds,
            served_at: work.position(),
        });
        (self.scheduled, self.in_rounds) = (self.packets.len(), self.batches.len());
    }

    /// Drops the packets of `track`, which has ended.
    pub fn forget(&mut self, track: TrackKey) {
        let batches = self.batches.iter_mut();
        let of_track = batches.filter(|batch| batch.track == track);
        of_track.for_each(|batch| batch.packets.clear());
    }

    /// Frees the rounds whose packets were sealed for all waiting sessions.
    pub fn free_served(&mut self, work: &Schedule) {
        while let Some(round) = self.rounds.front().copied()
            && work.is_past(round.served_at)
        {
            self.rounds.pop_front();
            self.packets.drain(..round.packets);
            self.scheduled -= round.packets;
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
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{SessionIndex, SubscriptionIndex};
    use crate::media::subscription::tests::packet;
    use crate::shard::schedule::{PendingPackets, QueueKind};

    fn push(backlog: &mut Backlog, seq: u64) -> bool {
        backlog.push(packet(0, seq, false), Instant::now())
    }

    fn push_and_schedule(
        backlog: &mut Backlog,
        work: &mut Schedule,
        index: SessionIndex,
        seq: u64,
    ) -> (u32, u32) {
        assert!(push(backlog, seq));
        let batch = backlog.add_batch(TrackKey(seq));
        let place = backlog.unscheduled().next().unwrap();
        backlog.add_to_batch(batch, place);
        assert_eq!(backlog.new_batches().collect::<Vec<_>>(), [batch]);
        work.add(
            index,
            PendingPackets {
                batch,
                sub: SubscriptionIndex(0),
            },
            QueueKind::ManySubscribers,
        );
        backlog.close_round(work);
        assert_eq!(backlog.unscheduled().count(), 0);
        (batch, place)
    }

    #[test]
    fn a_packet_is_kept_until_all_waiting_sessions_were_served() {
        let (mut work, mut pending) = (Schedule::default(), Vec::new());
        let mut backlog = Backlog {
            first_packet: u32::MAX, // places wrap
            first_batch: u32::MAX - 1,
            ..Backlog::default()
        };
        let numbers: Vec<_> = (0..4)
            .map(|seq| push_and_schedule(&mut backlog, &mut work, SessionIndex(seq as usize), seq))
            .collect();
        assert_eq!(numbers[1], (u32::MAX, 0));
        for served in 0..4 {
            backlog.free_served(&work);
            assert_eq!(backlog.packets.len(), 4 - served);
            for (seq, (batch, place)) in (0..).zip(&numbers).skip(served) {
                assert_eq!(backlog.packet(*place).seq, seq);
                assert_eq!(backlog.batch(*batch).packets, [*place]);
                assert_eq!(backlog.batch(*batch).track, TrackKey(seq));
            }
            work.take(&mut pending).unwrap();
        }
        backlog.free_served(&work);
        assert!(backlog.packets.is_empty() && backlog.batches.is_empty());
        assert_eq!(backlog.spare.len(), 4, "lists are used again");
    }

    #[test]
    fn a_full_or_late_backlog_refuses_packets() {
        let (work, mut backlog) = (Schedule::default(), Backlog::default());
        assert!((0..BACKLOG_PACKETS as u64).all(|seq| push(&mut backlog, seq)));
        assert!(!push(&mut backlog, 0), "so many");
        backlog.close_round(&work);
        backlog.free_served(&work); // no subscriber waited for them
        assert!(push(&mut backlog, 0));
        let late = Instant::now() + BACKLOG_TIME;
        assert!(!backlog.push(packet(0, 1, false), late), "so late");
        assert_eq!(backlog.packets.len(), 1);
    }

    #[test]
    fn packets_of_an_ended_track_are_dropped() {
        let (mut work, mut backlog) = (Schedule::default(), Backlog::default());
        let (gone, _) = push_and_schedule(&mut backlog, &mut work, SessionIndex(0), 7);
        let (other, place) = push_and_schedule(&mut backlog, &mut work, SessionIndex(0), 8);
        backlog.forget(TrackKey(7));
        assert!(backlog.batch(gone).packets.is_empty());
        assert_eq!(backlog.batch(other).packets, [place]);
    }
}
