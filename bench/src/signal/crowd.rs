//! The participants: a task each with a WebSocket, and what all of them heard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_tungstenite::client_async;

use super::files;
use super::tally::{Faults, Receiver, faults};
use super::wire::Wire;
use crate::canary::token::TokenSource;

/// Longest latency that is told apart from longer ones.
const MAX_LATENCY_US: u64 = 60_000_000;

/// What a participant is to do.
#[derive(Debug)]
pub enum Order {
    /// Say this.
    Say(String),
    /// Lose the connection and come back, to this node.
    Return(SocketAddr),
}

/// What all participants heard; times are microseconds since it was made.
#[derive(Debug)]
pub struct Board {
    start: Instant,
    room_size: usize,
    heard: Mutex<Heard>,
}

/// See [`Board`].
#[derive(Debug)]
pub struct Heard {
    /// Participants that have joined.
    pub joined: usize,
    /// Conversations that ended before their time, and the first one's reason.
    pub broken: usize,
    /// Why the first of them did.
    pub why_broken: Option<String>,
    /// Participants that have come back.
    pub returned: usize,
    /// Those of them that went on where they had been.
    pub recovered: usize,
    /// From the loss of a connection to the answer over the next one.
    pub returned_us: Histogram<u64>,
    /// Times a participant was told the whole truth anew, as the room's history began anew.
    pub resyncs: u64,
    /// Refusals that did not end a conversation.
    pub errors: u64,
    /// From a participant's `join` to each peer's `participant_joined`.
    pub notified_us: Histogram<u64>,
    /// From the moment a message was due to each delivery, since it was last reset.
    pub delivered_us: Histogram<u64>,
    /// Deliveries of messages, senders' own included.
    pub deliveries: u64,
    /// Bytes of the latest message's event.
    pub event_bytes: usize,
    receivers: Vec<Receiver>,
    sent_by_room: Vec<u64>,
    join_sent_us: Vec<Option<u64>>,
}

/// One participant to be.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Which one it is.
    pub index: usize,
    /// Where it joins.
    pub node: SocketAddr,
    /// The room's number.
    pub room: usize,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    id: Option<u64>,
    offset: Option<u64>,
    mode: Option<&'a str>,
    #[serde(borrow)]
    event: Option<Event<'a>>,
    code: Option<serde_json::Value>,
}

/// What a `joined` gives, to come back with.
#[derive(Debug, Clone, Deserialize)]
struct Pass {
    participant: String,
    epoch: String,
    resume_key: String,
}

/// Number of the request to join, and of the one to come back.
const JOIN: u64 = 1;
const RETURN: u64 = 2;

#[derive(Deserialize)]
struct Event<'a> {
    kind: &'a str,
    #[serde(borrow)]
    participant: Option<Who<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Who<'a> {
    /// Events but joins have an id alone.
    Named(#[expect(dead_code, reason = "it is told from the other form by being a text")] &'a str),
    Whole {
        identity: &'a str,
    },
}

impl Board {
    /// For `connections` participants in rooms of `room_size`.
    pub fn new(connections: usize, room_size: usize) -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, MAX_LATENCY_US, 3);
        Ok(Self {
            start: Instant::now(),
            room_size,
            heard: Mutex::new(Heard {
                joined: 0,
                broken: 0,
                why_broken: None,
                returned: 0,
                recovered: 0,
                returned_us: histogram()?,
                resyncs: 0,
                errors: 0,
                notified_us: histogram()?,
                delivered_us: histogram()?,
                deliveries: 0,
                event_bytes: 0,
                receivers: vec![Receiver::default(); connections],
                sent_by_room: vec![0; connections.div_ceil(room_size)],
                join_sent_us: vec![None; connections],
            }),
        })
    }

    /// Microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("this run ends within centuries")
    }

    /// What was heard so far.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that went wrong between the nodes and the receivers.
    pub fn faults(&self) -> Faults {
        let heard = self.heard();
        let rooms = heard.receivers.chunks(self.room_size);
        let mut sum = Faults::default();
        for (room, sent) in rooms.zip(&heard.sent_by_room) {
            let of_room = faults(room, *sent);
            sum.lost += of_room.lost;
            sum.duplicates += of_room.duplicates;
        }
        sum
    }

    /// Deliveries that a message is.
    pub fn hearers(&self) -> usize {
        self.room_size.min(self.heard().receivers.len())
    }

    /// Deliveries that `participant`'s message will be.
    pub fn sent(&self, participant: usize) -> u64 {
        let mut heard = self.heard();
        let room = participant / self.room_size;
        heard.sent_by_room[room] += 1;
        let members = heard.receivers.chunks(self.room_size).nth(room);
        members.map_or(0, |members| members.len() as u64)
    }

    fn resume(&self, index: usize, token: &str, pass: &Pass) -> String {
        let offset = self.heard().receivers[index].last();
        let Pass {
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

    fn came_back(&self, lost_at_us: Option<u64>) {
        if let Some(lost_at_us) = lost_at_us {
            let away_us = self.now_us().saturating_sub(lost_at_us);
            self.heard().returned_us.saturating_record(away_us);
        }
    }

    fn hear(&self, index: usize, text: &str) -> anyhow::Result<()> {
        if let Some((offset, due_us)) = message(text) {
            let now_us = self.now_us();
            self.heard()
                .message(index, (offset, due_us), (text.len(), now_us));
            return Ok(());
        }
        let incoming: Incoming<'_> =
            serde_json::from_str(text).with_context(|| format!("what is {text}?"))?;
        let now = self.now_us();
        let mut heard = self.heard();
        match (incoming.name, incoming.offset) {
            ("joined", Some(offset)) => {
                heard.receivers[index].begin(offset);
                // Without an id it answers no join: the room's history began anew.
                match incoming.id {
                    Some(JOIN) => heard.joined += 1,
                    Some(_) => {
                        heard.returned += 1;
                        heard.recovered += usize::from(incoming.mode == Some("recovered"));
                    }
                    None => heard.resyncs += 1,
                }
            }
            ("event", Some(offset)) => {
                let event = incoming.event.context("an event without its event")?;
                heard.event(index, offset, &event, now);
            }
            ("error", _) => heard.errors += 1,
            ("closing", _) => bail!("the node closes: {:?}", incoming.code),
            _ => {}
        }
        Ok(())
    }
}

impl Heard {
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

    fn event(&mut self, index: usize, offset: u64, event: &Event<'_>, now_us: u64) {
        self.receivers[index].event(offset, event.kind == "message");
        let Some(Who::Whole { identity }) = &event.participant else {
            return;
        };
        let joiner = identity
            .strip_prefix('p')
            .and_then(|number| number.parse::<usize>().ok());
        let sent_us = joiner.and_then(|joiner| *self.join_sent_us.get(joiner)?);
        if let Some(sent_us) = sent_us {
            self.notified_us
                .saturating_record(now_us.saturating_sub(sent_us));
        }
    }
}

/// Comes before the time.
const DUE: &str = r#""due_us":"#;

/// Number and time of a message, from the text of its event: hundreds of thousands come in a second, so
/// their JSON is not taken apart.
fn message(text: &str) -> Option<(u64, u64)> {
    let (offset, event) = number(text.strip_prefix(r#"{"type":"event","offset":"#)?)?;
    let event = event.strip_prefix(r#","event":{"kind":"message","#)?;
    let due_us = memchr::memmem::find(event.as_bytes(), DUE.as_bytes())? + DUE.len();
    Some((offset, number(&event[due_us..])?.0))
}

/// The number that `text` begins with, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Joins, does what it is ordered to, and hears, until its orders end.
pub async fn participate(
    board: Arc<Board>,
    seat: Seat,
    tokens: Arc<TokenSource>,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    let index = seat.index;
    if let Err(error) = converse(&board, seat, &tokens, orders).await {
        let mut heard = board.heard();
        heard.broken += 1;
        heard
            .why_broken
            .get_or_insert_with(|| format!("participant {index}: {error:#}"));
    }
}

async fn converse(
    board: &Board,
    mut seat: Seat,
    tokens: &TokenSource,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let mut socket = connect(&seat).await?;
    let token = tokens.token(
        &format!("signal-{}", seat.room),
        &format!("p{}", seat.index),
    )?;
    let join = json!({"type": "join", "id": JOIN, "token": token, "auto_subscribe": false});
    board.heard().join_sent_us[seat.index] = Some(board.now_us());
    socket.say(&join.to_string()).await?;
    let (mut pass, mut lost_at) = (None, None);
    loop {
        tokio::select! {
            biased;
            heard = socket.hear(|text| {
                if text.starts_with(r#"{"type":"joined""#) {
                    pass = Some(serde_json::from_str::<Pass>(text)?);
                    board.came_back(lost_at.take());
                }
                board.hear(seat.index, text)
            }) => heard?,
            order = orders.recv() => match order {
                Some(Order::Say(said)) => socket.say(&said).await?,
                Some(Order::Return(node)) => {
                    let pass = pass.clone().context("it has not joined yet")?;
                    lost_at = Some(board.now_us());
                    seat.node = node;
                    socket = connect(&seat).await?; // the one before is gone without a word
                    let join = board.resume(seat.index, &token, &pass);
                    socket.say(&join).await?;
                }
                None => return Ok(()),
            },
        }
    }
}

async fn connect(seat: &Seat) -> anyhow::Result<Wire> {
    let socket = match seat.node {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let source = files::source(seat.node, seat.index);
    // Of each address a port that is free towards this node, chosen as it connects: one that is free
    // towards everybody is sought through all that are taken.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket
        .bind(source)
        .with_context(|| format!("no port of {source}"))?;
    let stream = socket.connect(seat.node).await;
    let stream = stream.with_context(|| format!("cannot connect to {}", seat.node))?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}/v1/signal", seat.node);
    // A node says nothing before it is asked: the handshake has read no more than its answer.
    let (socket, _) = client_async(url, stream).await?;
    Ok(Wire::new(socket.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_heard_as_the_protocol_has_them() {
        let board = Board::new(2, 2).unwrap();
        board.heard().join_sent_us[1] = Some(0);
        board
            .hear(
                0,
                r#"{"type":"joined","id":1,"mode":"new","offset":1,"participant":"PA_1","epoch":"e","resume_key":"k","participants":[]}"#,
            )
            .unwrap();
        board.hear(0, r#"{"type":"event","offset":2,"event":{"kind":"participant_joined","participant":{"participant":"PA_1","identity":"p1","name":"p1","tracks":[]}}}"#).unwrap();
        board.hear(0, r#"{"type":"event","offset":3,"event":{"kind":"message","participant":"PA_1","identity":"p1","topic":"chat","payload":{"due_us":0,"pad":"xx"}}}"#).unwrap();
        board
            .hear(
                0,
                r#"{"type":"error","code":"too_fast","message":"no","retry":true}"#,
            )
            .unwrap();
        assert!(
            board
                .hear(
                    0,
                    r#"{"type":"closing","code":4503,"reason":"r","resume":true,"after_ms":1}"#
                )
                .is_err()
        );
        let heard = board.heard();
        assert_eq!((heard.joined, heard.errors, heard.deliveries), (1, 1, 1));
        assert_eq!((heard.notified_us.len(), heard.delivered_us.len()), (1, 1));
    }
}
