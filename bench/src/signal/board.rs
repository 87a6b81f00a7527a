//! Collects the events that all participants received, and the times when they were due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rooms::{Kind, Rooms};
use super::tally::{Faults, Receiver, faults};

/// Ids of the request to join, and of the request to resume.
pub(super) const JOIN: u64 = 1;
const RETURN: u64 = 2;

/// Maximum latency in the histograms, in µs.
const MAX_LATENCY_US: u64 = 60_000_000;

/// Events of all participants. Times are in µs since the creation of the board.
#[derive(Debug)]
pub struct Board {
    start: Instant,
    rooms: Rooms,
    results: Mutex<Results>,
}

/// Results of all participants.
#[derive(Debug)]
pub struct Results {
    /// Number of joins that were answered.
    pub joined: usize,
    /// Number of connections that failed.
    pub broken: usize,
    /// Reason of the first failure.
    pub why_broken: Option<String>,
    /// Number of participants that have reconnected.
    pub returned: usize,
    /// Number of participants that resumed without a snapshot.
    pub recovered: usize,
    /// Time from the loss of a connection to the `joined` on the next one, in µs.
    pub returned_us: Histogram<u64>,
    /// Number of snapshots sent because a room's history started over.
    pub resyncs: u64,
    /// Number of errors that did not end a connection.
    pub errors: u64,
    /// Time from a participant's `leave` to the close of its connection.
    pub left_us: Histogram<u64>,
    /// Time from that close to the handshake of the next connection, in µs.
    pub connected_us: Histogram<u64>,
    /// Time from when a `join` was due to its answer, in µs.
    pub answered_us: Histogram<u64>,
    /// Time from when a message was due to each delivery since the last reset, in µs.
    pub delivered_us: Histogram<u64>,
    /// Number of deliveries of messages, including those to the senders.
    pub deliveries: u64,
    /// Size of the latest message event in bytes.
    pub event_bytes: usize,
    large: JoinNotifications,
    usual: JoinNotifications,
    receivers: Vec<Receiver>,
    sent_by_room: Vec<u64>,
    join_due_us: Vec<Option<u64>>,
}

/// Notifications of joins and leaves in rooms of one kind.
#[derive(Debug)]
pub struct JoinNotifications {
    /// Time from when a participant's `join` was due to each `participant_joined`, in µs.
    pub notified_us: Histogram<u64>,
    /// Number of delivered events other than messages.
    pub deliveries: u64,
}

/// Values of `joined` that a resume needs.
#[derive(Debug)]
pub(super) struct ResumePoint {
    participant: String,
    epoch: String,
    resume_key: String,
}

#[derive(Deserialize)]
struct Joined<'a> {
    id: Option<u64>,
    offset: u64,
    mode: Option<&'a str>,
    participant: String,
    epoch: String,
    resume_key: String,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    offset: Option<u64>,
    #[serde(borrow)]
    event: Option<Event<'a>>,
    code: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Event<'a> {
    kind: &'a str,
    #[serde(borrow)]
    participant: Option<Who<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Who<'a> {
    /// All events but joins contain only the id.
    Named(#[expect(dead_code, reason = "it is told from the other form by being a text")] &'a str),
    Whole {
        identity: &'a str,
    },
}

impl Board {
    /// A board for the participants of `rooms`.
    pub fn new(rooms: Rooms) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, MAX_LATENCY_US, 3);
        let join_notifications = || {
            anyhow::Ok(JoinNotifications {
                notified_us: histogram()?,
                deliveries: 0,
            })
        };
        Ok(Self {
            start: Instant::now(),
            rooms,
            results: Mutex::new(Results {
                joined: 0,
                broken: 0,
                why_broken: None,
                returned: 0,
                recovered: 0,
                returned_us: histogram()?,
                left_us: histogram()?,
                connected_us: histogram()?,
                answered_us: histogram()?,
                resyncs: 0,
                errors: 0,
                delivered_us: histogram()?,
                deliveries: 0,
                event_bytes: 0,
                large: join_notifications()?,
                usual: join_notifications()?,
                receivers: vec![Receiver::default(); rooms.participants()],
                sent_by_room: vec![0; rooms.count()],
                join_due_us: vec![None; rooms.participants()],
            }),
        })
    }

    /// Rooms with their participants.
    pub fn rooms(&self) -> Rooms {
        self.rooms
    }

    /// Time since the creation of the board, in µs.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("this run ends within centuries")
    }

    /// The time `us` µs after the creation of the board.
    pub fn moment(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us)
    }

    /// Results of all participants so far.
    pub fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lost and repeated events of all receivers.
    pub fn faults(&self) -> Faults {
        let results = self.results();
        let mut sum = Faults::default();
        for (room, sent) in results.sent_by_room.iter().enumerate() {
            let of_room = faults(&results.receivers[self.rooms.members(room)], *sent);
            sum.lost += of_room.lost;
            sum.duplicates += of_room.duplicates;
        }
        sum
    }

    /// Number of events that the last joined participant of a room has not received yet.
    pub(super) fn behind(&self, room: usize) -> u64 {
        let results = self.results();
        let receivers = &results.receivers[self.rooms.members(room)];
        let joined = receivers
            .iter()
            .map(Receiver::last)
            .filter(|last| *last > 0);
        let (mut least, mut most) = (u64::MAX, 0);
        for last in joined {
            (least, most) = (least.min(last), most.max(last));
        }
        most.saturating_sub(least)
    }

    /// Adds errors to the result.
    pub fn conclude(&self, result: &mut Value) {
        let faults = self.faults();
        let results = self.results();
        result["lost"] = json!(faults.lost);
        result["duplicates"] = json!(faults.duplicates);
        result["resyncs"] = json!(results.resyncs);
        result["refused"] = json!(results.errors);
        result["broken_sockets"] = json!(results.broken);
        if let Some(why) = &results.why_broken {
            eprintln!("{} conversations broke; {why}", results.broken);
        }
    }

    /// Number of receivers of a message in the first room.
    pub fn receivers(&self) -> usize {
        self.rooms.members(0).len()
    }

    /// Counts a message of `participant`. Returns its number of receivers.
    pub fn sent(&self, participant: usize) -> u64 {
        let room = self.rooms.of(participant);
        self.results().sent_by_room[room] += 1;
        self.rooms.members(room).len() as u64
    }

    /// Records the time when a `join` is due.
    pub(super) fn join_is_due(&self, participant: usize, due_us: u64) {
        self.results().join_due_us[participant] = Some(due_us);
    }

    /// The request of a participant to resume.
    pub(super) fn resume(&self, index: usize, token: &str, pass: &ResumePoint) -> String {
        let offset = self.results().receivers[index].last();
        let ResumePoint {
            participant,
            epoch,
            resume_key,
        } = pass;
        let resume = json!({
            "participant": participant, "epoch": epoch, "offset": offset, "key": resume_key
        });
        let join = json!({
            "type": "join", "id": RETURN, "token": token, "auto_subscribe": false, "resume": resume
        });
        join.to_string()
    }

    /// Records that a participant has left and is connected again: times of its `leave` and of the close of its
    /// connection.
    pub(super) fn reconnected(&self, leave_us: u64, closed_us: u64) {
        let now_us = self.now_us();
        let mut results = self.results();
        results.left_us.saturating_record(closed_us - leave_us);
        results.connected_us.saturating_record(now_us - closed_us);
    }

    /// Records that a participant has reconnected.
    pub(super) fn came_back(&self, lost_at_us: u64) {
        let away_us = self.now_us().saturating_sub(lost_at_us);
        self.results().returned_us.saturating_record(away_us);
    }

    /// Handles a message to one participant; returns the resume point of a `joined`.
    pub(super) fn receive(&self, index: usize, text: &str) -> anyhow::Result<Option<ResumePoint>> {
        if let Some((offset, due_us)) = message(text) {
            let now_us = self.now_us();
            self.results()
                .message(index, (offset, due_us), (text.len(), now_us));
            return Ok(None);
        }
        if let Some((offset, joiner)) = join_or_leave(text) {
            let (now_us, kind) = (self.now_us(), self.rooms.kind(self.rooms.of(index)));
            let mut results = self.results();
            results.receivers[index].event(offset, false);
            results.record_notification(kind, joiner, now_us);
            return Ok(None);
        }
        if text.starts_with(JOINED) {
            let joined: Joined<'_> =
                serde_json::from_str(text).context("a `joined` that is none")?;
            let now_us = self.now_us();
            return Ok(Some(self.results().joined(index, joined, now_us)));
        }
        let incoming: Incoming<'_> =
            serde_json::from_str(text).with_context(|| format!("what is {text}?"))?;
        let now_us = self.now_us();
        let mut results = self.results();
        match (incoming.name, incoming.offset) {
            ("event", Some(offset)) => {
                let event = incoming.event.context("an event without its event")?;
                results.receivers[index].event(offset, event.kind == "message");
                if event.kind != "message" {
                    let kind = self.rooms.kind(self.rooms.of(index));
                    results.record_notification(kind, event.joiner(), now_us);
                }
            }
            ("error", _) => results.errors += 1,
            ("closing", _) => bail!("the server closes: {:?}", incoming.code),
            _ => {}
        }
        Ok(None)
    }
}

impl Results {
    /// Notifications of joins and leaves in rooms of a kind.
    pub fn join_notifications(&self, kind: Kind) -> &JoinNotifications {
        match kind {
            Kind::Large => &self.large,
            Kind::Usual => &self.usual,
        }
    }

    /// Discards notifications from before this call.
    pub fn reset_join_notifications(&mut self) {
        for join_notifications in [&mut self.large, &mut self.usual] {
            join_notifications.notified_us.reset();
            join_notifications.deliveries = 0;
        }
        self.left_us.reset();
        self.connected_us.reset();
        self.answered_us.reset();
    }

    fn joined(&mut self, index: usize, joined: Joined<'_>, now_us: u64) -> ResumePoint {
        self.receivers[index].begin(joined.offset);
        // A `joined` without an id is not an answer: the room's history started over.
        match joined.id {
            Some(JOIN) => {
                self.joined += 1;
                let due_us = self.join_due_us[index].unwrap_or(now_us);
                self.answered_us
                    .saturating_record(now_us.saturating_sub(due_us));
            }
            Some(_) => {
                self.returned += 1;
                self.recovered += usize::from(joined.mode == Some("recovered"));
            }
            None => self.resyncs += 1,
        }
        ResumePoint {
            participant: joined.participant,
            epoch: joined.epoch,
            resume_key: joined.resume_key,
        }
    }

    fn message(
        &mut self,
        index: usize,
        (offset, due_us): (u64, u64),
        (bytes, now_us): (usize, u64),
    ) {
        self.receivers[index].event(offset, true);
        self.deliveries += 1;
        self.event_bytes = bytes;
        let late_us = now_us.saturating_sub(due_us);
        self.delivered_us.saturating_record(late_us);
    }

    /// Records a notification in a room of this kind, perhaps of a join.
    fn record_notification(&mut self, kind: Kind, joiner: Option<usize>, now_us: u64) {
        let due_us = joiner.and_then(|joiner| *self.join_due_us.get(joiner)?);
        let join_notifications = match kind {
            Kind::Large => &mut self.large,
            Kind::Usual => &mut self.usual,
        };
        join_notifications.deliveries += 1;
        if let Some(due_us) = due_us {
            let late_us = now_us.saturating_sub(due_us);
            join_notifications.notified_us.saturating_record(late_us);
        }
    }
}

impl Event<'_> {
    /// The number of the participant that joined, if the event is a join.
    fn joiner(&self) -> Option<usize> {
        match &self.participant {
            Some(Who::Whole { identity }) => identity.strip_prefix('p')?.parse().ok(),
            Some(Who::Named(_)) | None => None,
        }
    }
}

/// Quantiles of a histogram of microseconds, in ms.
pub fn quantiles_ms(histogram: &Histogram<u64>) -> Value {
    let ms = |part| histogram.value_at_quantile(part) as f64 / 1e3;
    json!({"p50": ms(0.5), "p99": ms(0.99)})
}

/// Start of a `joined` message.
const JOINED: &str = r#"{"type":"joined""#;
/// Text before the time.
const DUE: &str = r#""due_us":"#;

/// Text before the number of a participant.
const IDENTITY: &str = r#","identity":"p"#;

/// Offset of an event, and the text after its kind. Hundreds of thousands arrive in a second, so the JSON is not
/// parsed. Other forms are parsed.
fn event<'a>(text: &'a str, kind: &str) -> Option<(u64, &'a str)> {
    let (offset, event) = number(text.strip_prefix(r#"{"type":"event","offset":"#)?)?;
    let event = event.strip_prefix(r#","event":{"kind":""#)?;
    Some((offset, event.strip_prefix(kind)?))
}

/// Number of a join or leave event, and the participant that joined.
fn join_or_leave(text: &str) -> Option<(u64, Option<usize>)> {
    if let Some((offset, _)) = event(text, r#"participant_left","#) {
        return Some((offset, None));
    }
    let (offset, event) = event(
        text,
        r#"participant_joined","participant":{"participant":""#,
    )?;
    let (_, identity) = event.split_once(IDENTITY)?;
    let (joiner, rest) = number(identity)?;
    rest.starts_with('"')
        .then_some((offset, usize::try_from(joiner).ok()))
}

/// Number and time of a message.
fn message(text: &str) -> Option<(u64, u64)> {
    let (offset, event) = event(text, r#"message","#)?;
    let due_us = memchr::memmem::find(event.as_bytes(), DUE.as_bytes())? + DUE.len();
    Some((offset, number(&event[due_us..])?.0))
}

/// The number at the start of `text`, and the rest.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED_AT_1: &str = r#"{"type":"joined","id":1,"mode":"new","offset":1,"participant":"PA_1","epoch":"e","resume_key":"k","participants":[]}"#;
    const P1_JOINED: &str = r#"{"type":"event","offset":2,"event":{"kind":"participant_joined","participant":{"participant":"PA_1","identity":"p1","name":"p1","tracks":[]}}}"#;

    #[test]
    fn events_are_counted_in_every_form_of_the_protocol() {
        let board = Board::new(Rooms::of_size(2, 2)).unwrap();
        board.join_is_due(1, 0);
        let pass = board.receive(0, JOINED_AT_1).unwrap().unwrap();
        assert_eq!(
            (&*pass.participant, &*pass.epoch, &*pass.resume_key),
            ("PA_1", "e", "k")
        );
        assert!(board.receive(0, P1_JOINED).unwrap().is_none());
        board.receive(0, r#"{"type":"event","offset":3,"event":{"kind":"message","participant":"PA_1","identity":"p1","topic":"chat","payload":{"due_us":0,"pad":"xx"}}}"#).unwrap();
        board
            .receive(
                0,
                r#"{"type":"error","code":"too_fast","message":"no","retry":true}"#,
            )
            .unwrap();
        assert!(
            board
                .receive(
                    0,
                    r#"{"type":"closing","code":4503,"reason":"r","resume":true,"after_ms":1}"#
                )
                .is_err()
        );
        let results = board.results();
        assert_eq!(
            (results.joined, results.errors, results.deliveries),
            (1, 1, 1)
        );
        assert_eq!(results.delivered_us.len(), 1);
        assert_eq!(results.join_notifications(Kind::Usual).notified_us.len(), 1);
    }

    #[test]
    fn the_joined_participant_is_read_from_the_text_or_from_its_json() {
        assert_eq!(join_or_leave(P1_JOINED), Some((2, Some(1))));
        let otherwise = P1_JOINED.replace(
            r#""participant":"PA_1","identity":"p1""#,
            r#""identity":"p1","participant":"PA_1""#,
        );
        assert_eq!(join_or_leave(&otherwise), None);
        let board = Board::new(Rooms::of_size(2, 2)).unwrap();
        board.join_is_due(1, 0);
        board.receive(0, JOINED_AT_1).unwrap();
        board.receive(0, &otherwise).unwrap();
        assert_eq!(
            board
                .results()
                .join_notifications(Kind::Usual)
                .notified_us
                .len(),
            1
        );
        let other = r#"{"type":"event","offset":7,"event":{"kind":"track_muted"}}"#;
        assert_eq!(join_or_leave(other), None);
    }

    #[test]
    fn news_of_a_large_room_is_apart_from_that_of_others() {
        let board = Board::new(Rooms::beside(3, 1, 2)).unwrap();
        board.join_is_due(1, 0);
        board.receive(0, JOINED_AT_1).unwrap();
        board.receive(3, JOINED_AT_1).unwrap();
        board.receive(0, P1_JOINED).unwrap();
        board
            .receive(3, r#"{"type":"event","offset":2,"event":{"kind":"participant_left","participant":"PA_1","identity":"p4","reason":"left"}}"#)
            .unwrap();
        let counts = |kind| {
            let results = board.results();
            let join_notifications = results.join_notifications(kind);
            (
                join_notifications.deliveries,
                join_notifications.notified_us.len(),
            )
        };
        assert_eq!((counts(Kind::Large), counts(Kind::Usual)), ((1, 1), (1, 0)));
        board.results().reset_join_notifications();
        assert_eq!((counts(Kind::Large), counts(Kind::Usual)), ((0, 0), (0, 0)));
    }
}
