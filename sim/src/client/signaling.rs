//! The signaling of a client: messages of `docs/protocol.md` go in and out as text, with a roster and an offset.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::roster::Roster;

/// The signaling state of a client. It outlives its sockets.
#[derive(Debug, Default)]
pub struct Signaling {
    /// Where the client is in the history of its room; `None` before the first `joined`.
    pub stay: Option<Stay>,
    /// True between `joined` and the end of the socket.
    pub is_joined: bool,
    /// What the client knows about the room.
    pub roster: Roster,
    next_id: u32,
    texts: VecDeque<String>,
    heard: VecDeque<Heard>,
    /// Requests with an id that has no answer.
    pub unanswered: std::collections::BTreeMap<u32, &'static str>,
}

/// A stay in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Id of the participant.
    pub participant: String,
    /// Epoch of the history.
    pub epoch: String,
    /// Offset of the last event.
    pub offset: u64,
    key: String,
}

/// What a client hears, apart from the roster.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The client is in the room; the text is the mode.
    Joined(String),
    /// The answer to the publish offer: SDP, and the track of each mid.
    Answer(String, Vec<(String, String)>),
    /// An offer for the subscribe session: revision, SDP, track by mid.
    Offer(u64, String, Vec<(String, String)>),
    /// The media was lost, with the reason; or it is ready again.
    Media {
        /// True if the peer connections must be discarded.
        is_lost: bool,
        /// Reason of the loss.
        reason: String,
    },
    /// A message of a participant.
    Message(String),
    /// A participant left: id and reason.
    Left(String, String),
    /// `ok` to a request of this kind.
    Ok(&'static str),
    /// A request was refused: kind of the request and code.
    Refused(&'static str, String),
    /// The server closes the socket: code, and whether the client may come back.
    Closing(u64, bool),
    /// Something that a server must not send.
    Wrong(String),
}

impl Signaling {
    /// Joins, or comes back. `is_known`: the client comes back with its resume key.
    pub fn join(&mut self, token: &str, auto_subscribe: bool) {
        let mut join = json!({"type": "join", "token": token, "auto_subscribe": auto_subscribe});
        if let Some(stay) = &self.stay {
            join["resume"] = json!({
                "participant": stay.participant, "epoch": stay.epoch,
                "offset": stay.offset, "key": stay.key,
            });
        }
        self.unanswered.clear();
        self.request("join", join);
    }

    /// Sends a request of this kind, with an id.
    pub fn request(&mut self, kind: &'static str, mut message: Value) {
        self.next_id += 1;
        message["id"] = json!(self.next_id);
        message["type"] = json!(kind);
        self.unanswered.insert(self.next_id, kind);
        self.texts.push_back(message.to_string());
    }

    /// Sends a text as it is.
    pub fn send(&mut self, text: String) {
        self.texts.push_back(text);
    }

    /// The next text to send.
    pub fn poll_text(&mut self) -> Option<String> {
        self.texts.pop_front()
    }

    /// The next thing that the client heard.
    pub fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// The socket is gone: what was not sent is lost.
    pub fn disconnected(&mut self) {
        self.is_joined = false;
        self.texts.clear();
        self.unanswered.clear();
    }

    /// Forgets the stay: the next join is a new one.
    pub fn forget(&mut self) {
        self.stay = None;
        self.roster = Roster::default();
    }

    /// Handles a message of the server.
    pub fn receive(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self.wrong(format!("'{text}' is no JSON"));
        };
        let kind = message["type"].as_str().unwrap_or_default();
        let asked = message["id"].as_u64().and_then(|id| {
            let id = u32::try_from(id).ok()?;
            self.unanswered.remove(&id)
        });
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        match kind {
            "joined" => self.joined(&message),
            "event" => self.event(&message),
            "answer" => {
                let heard = Heard::Answer(text("sdp"), mids(&message["tracks"]));
                self.heard.push_back(heard);
            }
            "offer" => {
                let revision = message["revision"].as_u64().unwrap_or_default();
                let heard = Heard::Offer(revision, text("sdp"), mids(&message["tracks"]));
                self.heard.push_back(heard);
            }
            "media" => self.heard.push_back(Heard::Media {
                is_lost: text("state") == "lost",
                reason: text("reason"),
            }),
            "message" => self.heard.push_back(Heard::Message(text("topic"))),
            "ok" => match asked {
                Some(asked) => self.heard.push_back(Heard::Ok(asked)),
                None => self.wrong(format!("{message} answers nothing")),
            },
            "error" => {
                let asked = asked.unwrap_or("unknown");
                self.heard.push_back(Heard::Refused(asked, text("code")));
            }
            "closing" => {
                let code = message["code"].as_u64().unwrap_or_default();
                let resume = message["resume"].as_bool().unwrap_or_default();
                self.heard.push_back(Heard::Closing(code, resume));
            }
            "speakers" | "layer" | "pong" | "ice_servers" => {}
            _ => self.wrong(format!("'{kind}' is no type of message")),
        }
    }

    fn joined(&mut self, message: &Value) {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let mode = text("mode");
        let stay = Stay {
            participant: text("participant"),
            epoch: text("epoch"),
            offset: message["offset"].as_u64().unwrap_or_default(),
            key: text("resume_key"),
        };
        if mode == "recovered" {
            let before = self.stay.as_ref();
            let same = |before: &Stay| {
                (&before.participant, &before.epoch, before.offset)
                    == (&stay.participant, &stay.epoch, stay.offset)
            };
            if !before.is_some_and(same) {
                self.wrong(format!("recovered as {stay:?} after {before:?}"));
            }
        } else {
            let mut roster = Roster::of_joined(&message["participants"]);
            let own = self.roster.participants.remove(&stay.participant);
            let own = match (&*mode, own) {
                ("resync", Some(own)) => own,
                _ => super::roster::Participant {
                    identity: text("identity"),
                    ..Default::default()
                },
            };
            roster.participants.insert(stay.participant.clone(), own);
            self.roster = roster;
        }
        self.stay = Some(stay);
        self.is_joined = true;
        self.heard.push_back(Heard::Joined(mode));
    }

    fn event(&mut self, message: &Value) {
        let Some(stay) = &mut self.stay else {
            return self.wrong(format!("{message} before joined"));
        };
        let offset = message["offset"].as_u64().unwrap_or_default();
        if offset != stay.offset + 1 {
            let said = format!("offset {offset} follows {}", stay.offset);
            stay.offset = offset;
            self.wrong(said);
        } else {
            stay.offset = offset;
        }
        let event = &message["event"];
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("participant_left") => {
                let left = Heard::Left(text("participant"), text("reason"));
                self.heard.push_back(left);
            }
            Some("message") => self.heard.push_back(Heard::Message(text("topic"))),
            _ => {}
        }
        if let Some(wrong) = self.roster.apply(event) {
            self.wrong(wrong);
        }
    }

    fn wrong(&mut self, what: String) {
        self.heard.push_back(Heard::Wrong(what));
    }
}

fn mids(tracks: &Value) -> Vec<(String, String)> {
    let tracks = tracks.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tracks
        .map(|track| (text(&track["mid"]), text(&track["track"])))
        .collect()
}
