//! The list of participants that a client builds from `joined` and from events, as a page does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a client knows of its room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The participants of the room by id.
    pub participants: BTreeMap<String, Participant>,
    /// Participants that left. Two servers may say so of the same one.
    gone: BTreeSet<String>,
}

/// A participant as clients know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Participant {
    /// Identity of the participant.
    pub identity: String,
    /// Tracks by id; true: muted.
    pub tracks: BTreeMap<String, bool>,
}

impl Roster {
    /// The list in a `joined` message.
    pub fn of_joined(participants: &Value) -> Self {
        let mut roster = Self::default();
        for participant in participants.as_array().into_iter().flatten() {
            roster.put(participant);
        }
        roster
    }

    /// Applies the event of an `event` message. Returns what is wrong with it, if anything.
    pub fn apply(&mut self, event: &Value) -> Option<String> {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let id = text("participant");
        match event["kind"].as_str().unwrap_or_default() {
            "participant_joined" => {
                self.put(&event["participant"]);
                None
            }
            "participant_left" => {
                let known = self.participants.remove(&id);
                let is_new = self.gone.insert(id.clone());
                (known.is_none() && is_new).then(|| format!("{id} left and was not there"))
            }
            "track_published" => {
                let track = &event["track"];
                let name = track["track"].as_str().unwrap_or_default().to_owned();
                let muted = track["muted"].as_bool().unwrap_or_default();
                match self.participants.get_mut(&id) {
                    Some(participant) => {
                        participant.tracks.insert(name, muted);
                        None
                    }
                    None => Some(format!("{id} published and is not there")),
                }
            }
            "track_unpublished" => {
                let track = text("track");
                let participant = self.participants.get_mut(&id);
                let known = participant.and_then(|participant| participant.tracks.remove(&track));
                known
                    .is_none()
                    .then(|| format!("{id} unpublished {track}, which is not there"))
            }
            "track_muted" => {
                let (track, muted) = (text("track"), event["muted"].as_bool());
                let participant = self.participants.get_mut(&id);
                let known = participant.and_then(|participant| participant.tracks.get_mut(&track));
                match known {
                    Some(known) => {
                        *known = muted.unwrap_or_default();
                        None
                    }
                    None => Some(format!("{id} muted {track}, which is not there")),
                }
            }
            "message" | "private" => None,
            kind => Some(format!("'{kind}' is no kind of event")),
        }
    }

    fn put(&mut self, participant: &Value) {
        let text = |name: &str| participant[name].as_str().unwrap_or_default().to_owned();
        let tracks = participant["tracks"].as_array().into_iter().flatten();
        let track = |track: &Value| {
            let name = track["track"].as_str().unwrap_or_default().to_owned();
            (name, track["muted"].as_bool().unwrap_or_default())
        };
        let known = Participant {
            identity: text("identity"),
            tracks: tracks.map(track).collect(),
        };
        self.participants.insert(text("participant"), known);
    }
}
