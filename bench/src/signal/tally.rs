//! Checks the events of each receiver: no offset of the room's history may be missing or repeated.

use serde::Serialize;

/// One receiver's position in the history of its room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receiver {
    last: Option<u64>,
    /// Number of received events of any kind.
    pub events: u64,
    /// Number of messages among the events.
    pub messages: u64,
    gaps: u64,
    duplicates: u64,
}

/// Errors of all receivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Messages and other events that a receiver did not get.
    pub lost: u64,
    /// Events that arrived more than once.
    pub duplicates: u64,
}

impl Receiver {
    /// Starts at the offset of a join or of a new history.
    pub fn begin(&mut self, offset: u64) {
        self.last = Some(offset);
    }

    /// Offset of the latest event; 0 before the join.
    pub fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// Counts an event that arrived.
    pub fn event(&mut self, offset: u64, is_message: bool) {
        let last = self.last.unwrap_or(offset.saturating_sub(1));
        if offset <= last {
            self.duplicates += 1;
            return;
        }
        self.gaps += offset - last - 1;
        self.last = Some(offset);
        self.events += 1;
        self.messages += u64::from(is_message);
    }
}

/// Compares the receivers of one room with each other and with the messages that were sent to it.
pub fn faults(room: &[Receiver], sent: u64) -> Faults {
    let newest = room.iter().filter_map(|receiver| receiver.last).max();
    let mut faults = Faults::default();
    for receiver in room {
        let behind = match (newest, receiver.last) {
            (Some(newest), Some(last)) => newest - last,
            (Some(_) | None, None) | (None, Some(_)) => 0,
        };
        // A message without an offset is missing only in the first count, any other event only in the second.
        let messages = sent.saturating_sub(receiver.messages);
        faults.lost += messages.max(receiver.gaps + behind);
        faults.duplicates += receiver.duplicates;
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(begin: u64, offsets: &[u64]) -> Receiver {
        let mut receiver = Receiver::default();
        receiver.begin(begin);
        for offset in offsets {
            receiver.event(*offset, true);
        }
        receiver
    }

    #[test]
    fn a_receiver_of_all_events_has_no_loss() {
        let room = [receiver(1, &[2, 3, 4]), receiver(1, &[2, 3, 4])];
        assert_eq!(faults(&room, 3), Faults::default());
    }

    #[test]
    fn gaps_tails_and_repetitions_are_seen() {
        let gap = [receiver(1, &[2, 3, 4]), receiver(1, &[2, 4])];
        assert_eq!(faults(&gap, 3).lost, 1);
        let tail = [receiver(1, &[2, 3, 4]), receiver(1, &[2])];
        assert_eq!(faults(&tail, 3).lost, 2);
        let twice = [receiver(1, &[2, 3, 3])];
        assert_eq!(
            faults(&twice, 2),
            Faults {
                lost: 0,
                duplicates: 1
            }
        );
    }

    #[test]
    fn an_event_that_no_receiver_got_is_lost_for_each() {
        let room = [receiver(1, &[2, 3]), receiver(1, &[2, 3])];
        assert_eq!(faults(&room, 3).lost, 2);
    }

    #[test]
    fn another_event_that_is_missing_counts_too() {
        let mut room = [receiver(1, &[]), receiver(1, &[])];
        room[0].event(2, false);
        assert_eq!(faults(&room, 0).lost, 1);
    }
}
