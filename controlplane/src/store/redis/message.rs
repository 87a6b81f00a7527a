//! Replies of scripts, and messages published between servers. Both are validated, because other
//! programs may write to the same Redis server.

use redis::{FromRedisValue, ParsingError, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::history::Entry;
use crate::history::{Ephemeral, RoomEvent};
use crate::ids::{Epoch, Identity, ParticipantId, RoomName};
use crate::store::StoreError;

/// The reply to an append.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AppendReply {
    /// The first `count` events were appended at offsets from `first` on.
    At {
        epoch: Epoch,
        first: u64,
        count: usize,
    },
    NoRoom,
    NotOurs,
}

/// The reply to `since.lua`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SinceReply {
    /// Pairs of stream id and event (JSON).
    Entries(Vec<(String, String)>),
    Old,
    NoRoom,
}

/// Epoch and latest offset of a room's history.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HistoryPosition {
    At(Epoch, u64),
    NoRoom,
}

/// A message published to a partition's channel.
#[derive(Debug)]
pub(super) enum Published {
    /// The next events, or the offset of an event that cannot be parsed.
    Events {
        epoch: Epoch,
        entries: Vec<Result<Entry, u64>>,
    },
    /// The history started over with a new epoch. Offset `at` is the last common event.
    Restarted { epoch: Epoch, at: u64 },
    /// A message outside the history. `by` is the id of the server that published it.
    Message { message: Ephemeral, by: String },
    /// Server `by` serves the participant from now on.
    Taken {
        participant: ParticipantId,
        by: String,
    },
}

#[derive(Deserialize)]
struct Wire<'a> {
    room: RoomName,
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default)]
    offset: Option<u64>,
    #[serde(default, borrow)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    message: Option<Ephemeral>,
    #[serde(default)]
    taken: Option<ParticipantId>,
    #[serde(default)]
    by: Option<String>,
}

#[derive(Deserialize)]
struct Stored {
    event: RoomEvent,
    #[serde(default)]
    to: Option<Vec<Identity>>,
}

/// Parses a published message; `None` if it has another format.
pub(super) fn published(bytes: &[u8]) -> Option<(RoomName, Published)> {
    let wire: Wire<'_> = serde_json::from_slice(bytes).ok()?;
    let published = match wire {
        Wire {
            taken: Some(participant),
            by: Some(by),
            ..
        } => Published::Taken { participant, by },
        Wire {
            epoch: Some(epoch),
            offset: Some(first),
            events: Some(events),
            ..
        } => {
            let read = |(offset, text): (u64, &RawValue)| entry(offset, text.get()).ok_or(offset);
            let entries = (first..).zip(events).map(read).collect();
            Published::Events { epoch, entries }
        }
        Wire {
            epoch: Some(epoch),
            offset: Some(at),
            ..
        } => Published::Restarted { epoch, at },
        Wire {
            message: Some(message),
            by: Some(by),
            ..
        } => Published::Message { message, by },
        _ => return None,
    };
    Some((wire.room, published))
}

/// Parses a stored event; `None` if it has another format.
pub(super) fn entry(offset: u64, text: &str) -> Option<Entry> {
    let Stored { event, to } = serde_json::from_str(text).ok()?;
    Some(Entry { offset, event, to })
}

/// A placeholder for an event that cannot be parsed, because offsets have no gaps.
pub(super) fn unreadable(offset: u64) -> Entry {
    Entry {
        offset,
        event: RoomEvent::Private,
        to: None,
    }
}

/// The offset in a stream id `OFFSET-0`.
pub(super) fn offset(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}

pub(super) fn epoch(text: &str) -> Result<Epoch, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Broken(format!("'{text}' is not an epoch")))
}

fn words(value: Value) -> Result<(String, std::vec::IntoIter<Value>), ParsingError> {
    let mut values = Vec::<Value>::from_redis_value(value)?.into_iter();
    let word = String::from_redis_value(values.next().unwrap_or(Value::Nil))?;
    Ok((word, values))
}

fn position(mut values: std::vec::IntoIter<Value>) -> Result<(Epoch, u64), ParsingError> {
    let text = String::from_redis_value(values.next().unwrap_or(Value::Nil))?;
    let epoch = text
        .parse()
        .map_err(|_| ParsingError::from(format!("'{text}' is not an epoch")))?;
    let offset = u64::from_redis_value(values.next().unwrap_or(Value::Nil))?;
    Ok((epoch, offset))
}

fn unknown(word: &str) -> ParsingError {
    ParsingError::from(format!("'{word}' is not a known reply"))
}

impl FromRedisValue for AppendReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (word, values) = words(value)?;
        match word.as_str() {
            "ok" => {
                let mut values: Vec<Value> = values.collect();
                let count = usize::from_redis_value(values.pop().unwrap_or(Value::Nil))?;
                let (epoch, first) = position(values.into_iter())?;
                Ok(Self::At {
                    epoch,
                    first,
                    count,
                })
            }
            "noroom" => Ok(Self::NoRoom),
            "notours" => Ok(Self::NotOurs),
            other => Err(unknown(other)),
        }
    }
}

impl FromRedisValue for SinceReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (word, mut values) = words(value)?;
        match word.as_str() {
            "ok" => Vec::from_redis_value(values.next().unwrap_or(Value::Nil)).map(Self::Entries),
            "old" => Ok(Self::Old),
            "noroom" => Ok(Self::NoRoom),
            other => Err(unknown(other)),
        }
    }
}

impl FromRedisValue for HistoryPosition {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (word, values) = words(value)?;
        match word.as_str() {
            "ok" => position(values).map(|(epoch, offset)| Self::At(epoch, offset)),
            "noroom" => Ok(Self::NoRoom),
            other => Err(unknown(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"kind":"participant_left","participant":"PA_0000000000000000","identity":"ann","reason":"left"}"#;

    #[test]
    fn what_is_published_is_read_and_rubbish_is_not() {
        let epoch = Epoch::random();
        let text = format!(
            r#"{{"room":"r","by":"n","epoch":"{epoch}","offset":7,"events":[{{"event":{EVENT}}},{{"event":{EVENT},"to":["bob"]}}]}}"#
        );
        let (room, published) = published(text.as_bytes()).unwrap();
        assert_eq!(room.as_str(), "r");
        let Published::Events { entries, .. } = published else {
            panic!("{published:?}");
        };
        let offsets = entries.iter().map(|entry| entry.as_ref().unwrap().offset);
        assert!(offsets.eq([7, 8]));
        let message = r#"{"room":"r","by":"n","message":{"participant":"PA_0000000000000000","identity":"ann","topic":"t","payload":null}}"#;
        assert!(matches!(
            super::published(message.as_bytes()),
            Some((_, Published::Message { by, .. })) if by == "n"
        ));
        let taken = r#"{"room":"r","taken":"PA_0000000000000000","by":"n"}"#;
        assert!(matches!(
            super::published(taken.as_bytes()),
            Some((_, Published::Taken { .. }))
        ));
        let restarted = format!(r#"{{"room":"r","epoch":"{epoch}","offset":7}}"#);
        assert!(matches!(
            super::published(restarted.as_bytes()),
            Some((_, Published::Restarted { .. }))
        ));
        for rubbish in [
            "",
            "{}",
            "[1]",
            "\u{0}",
            r#"{"room":"r"}"#,
            r#"{"room":7,"epoch":"x"}"#,
            r#"{"room":"r","taken":"x","by":"n"}"#,
        ] {
            assert!(super::published(rubbish.as_bytes()).is_none(), "{rubbish}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_read_keeps_its_number() {
        let text = format!(
            r#"{{"room":"r","epoch":"{}","offset":7,"events":[{{"event":{{"kind":"later"}}}},{{"event":{EVENT}}}]}}"#,
            Epoch::random()
        );
        let (_, published) = published(text.as_bytes()).unwrap();
        let Published::Events { entries, .. } = published else {
            panic!("{published:?}");
        };
        assert!(matches!(
            &entries[..],
            [Err(7), Ok(Entry { offset: 8, .. })]
        ));
        assert_eq!(entry(7, "{}"), None);
        assert_eq!(offset("7-0"), Some(7));
        assert_eq!(offset("7-1"), None);
    }
}
