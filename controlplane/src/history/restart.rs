//! Histories that start over after an outage: how readers continue in the new history.

use std::sync::Arc;

use super::{Entry, Ephemeral, RoomEvent};

/// How readers of this server continue in a history that started over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Offset up to which both histories are equal.
    pub common: u64,
    /// Offsets, in the new history, of later events that readers of this server have already
    /// received under other offsets.
    pub renumbered: Vec<u64>,
}

/// Events of the new history that the participants of a room did not receive.
#[derive(Debug, Default, PartialEq)]
pub struct MissedByRestart {
    /// Offset up to which both histories are equal.
    pub common: u64,
    /// Messages that participants on this server did not receive. They are older than the snapshot
    /// of participants, so they are sent without offsets.
    pub messages: Vec<Arc<Ephemeral>>,
    /// The latest events if all of them are messages: they do not change the participants, so the
    /// snapshot fits before and after them.
    pub entries: Vec<Arc<Entry>>,
}

impl MissedByRestart {
    /// `all` are the events after the common ones. Readers of this server have received those in
    /// `renumbered` under other offsets.
    pub fn new(mut all: Vec<Arc<Entry>>, renumbered: &[u64]) -> Self {
        let common = all.first().map_or(u64::MAX, |first| first.offset - 1);
        let changes = |entry: &Arc<Entry>| entry.event.participant().is_some();
        let after_changes = all.iter().rposition(changes).map_or(0, |last| last + 1);
        let entries = all.split_off(after_changes);
        let unseen = all
            .iter()
            .filter(|entry| !renumbered.contains(&entry.offset));
        let message = |entry: &Arc<Entry>| match &entry.event {
            RoomEvent::Message {
                participant,
                identity,
                topic,
                payload,
            } => Some(Arc::new(Ephemeral {
                participant: participant.clone(),
                identity: identity.clone(),
                topic: topic.clone(),
                payload: payload.clone(),
                to: entry.to.clone(),
            })),
            RoomEvent::ParticipantJoined { .. }
            | RoomEvent::ParticipantLeft { .. }
            | RoomEvent::TrackPublished { .. }
            | RoomEvent::TrackUnpublished { .. }
            | RoomEvent::TrackMuted { .. }
            | RoomEvent::Private => None,
        };
        let messages = unseen.filter_map(message).collect();
        Self {
            common,
            messages,
            entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Append;
    use crate::store::suite;

    fn entries(appends: Vec<Append>) -> Vec<Arc<Entry>> {
        let entry = |(offset, append): (u64, Append)| {
            let (event, to) = (append.event, append.to);
            Arc::new(Entry { offset, event, to })
        };
        (8..).zip(appends).map(entry).collect()
    }

    #[test]
    fn messages_alone_come_under_their_numbers() {
        let all = entries(vec![suite::note(1), suite::note(2)]);
        let missed = MissedByRestart::new(all.clone(), &[9]);
        assert_eq!((missed.common, &missed.entries), (7, &all));
        assert!(missed.messages.is_empty());
        assert!(MissedByRestart::new(Vec::new(), &[]).entries.is_empty());
    }

    #[test]
    fn what_the_snapshot_has_is_not_told_again_and_messages_from_before_it_are() {
        let joined = suite::joined(&suite::participant("ann"));
        let all = entries(vec![suite::note(1), suite::note(2), joined, suite::note(3)]);
        let missed = MissedByRestart::new(all.clone(), &[9]);
        assert_eq!(missed.entries, all[3..]);
        let payloads = missed
            .messages
            .iter()
            .map(|message| message.payload.clone());
        assert!(payloads.eq([serde_json::json!(1)]), "9 was renumbered");
    }
}
