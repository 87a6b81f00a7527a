//! The Lua scripts, each an atomic step in Redis, and their arguments.

use std::time::Duration;

use redis::Cmd;

use super::offline_log::Base;
use super::partition::RoomKeys;
use crate::history::{Append, Change};
use crate::history::{Ephemeral, Participant};
use crate::ids::{Epoch, ParticipantId, RoomName};
use crate::limits::{HISTORY_EVENTS, PRESENCE_TIME, READER_LEASE, ROOM_LIFE};

/// TTL of the key that a probe writes.
const PROBE_LIFE: Duration = Duration::from_secs(60);

/// One call of a script: text, keys and arguments.
#[derive(Debug, Clone)]
pub(super) struct Script {
    source: &'static Source,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Source {
    text: &'static str,
    hash: std::sync::OnceLock<String>,
}

macro_rules! sources {
    ($($name:ident $file:literal)*) => {$(
        static $name: Source = Source { text: include_str!($file), hash: std::sync::OnceLock::new() };
    )*};
}

sources! {
    OPEN "scripts/open.lua"
    APPEND "scripts/append.lua"
    SINCE "scripts/since.lua"
    TOUCH "scripts/touch.lua"
    ABSENT "scripts/absent.lua"
    CLAIM "scripts/claim.lua"
    CLOSE "scripts/close.lua"
    RESTORE "scripts/restore.lua"
    RESTART "scripts/restart.lua"
    PROBE "scripts/probe.lua"
}

/// The texts of all scripts.
#[cfg(test)]
pub(super) fn texts() -> [&'static str; 10] {
    [
        &OPEN, &APPEND, &SINCE, &TOUCH, &ABSENT, &CLAIM, &CLOSE, &RESTORE, &RESTART, &PROBE,
    ]
    .map(|source| source.text)
}

impl Script {
    fn new(source: &'static Source, keys: &[&String]) -> Self {
        let keys = keys.iter().map(|key| (*key).clone()).collect();
        Self {
            source,
            keys,
            args: Vec::new(),
        }
    }

    fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string().into_bytes());
        self
    }

    fn time(self, time: Duration) -> Self {
        self.arg(time.as_millis())
    }

    /// EVALSHA, for a server that has the script in its cache.
    pub(super) fn by_hash(&self) -> Cmd {
        let hash = self
            .source
            .hash
            .get_or_init(|| redis::Script::new(self.source.text).get_hash().to_owned());
        self.command("EVALSHA", hash)
    }

    /// EVAL, which also puts the script into the server's cache.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.source.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command
            .arg(script)
            .arg(self.keys.len())
            .arg(&self.keys)
            .arg(&self.args);
        command
    }
}

/// The beginning of a published message: the room's name. The script adds the rest.
fn head(room: &RoomName) -> String {
    let room = serde_json::to_string(room).expect("a name is text");
    format!("{{\"room\":{room},")
}

/// The members of an event's JSON object, without its offset.
fn body(append: &Append) -> String {
    let event = serde_json::to_string(&append.event).expect("events are plain data");
    match &append.to {
        Some(to) => {
            let to = serde_json::to_string(to).expect("names are text");
            format!("\"event\":{event},\"to\":{to}")
        }
        None => format!("\"event\":{event}"),
    }
}

fn json(participant: &Participant) -> String {
    serde_json::to_string(participant).expect("participants are plain data")
}

pub(super) fn open(keys: &RoomKeys, server_id: &str, epoch: &Epoch) -> Script {
    Script::new(&OPEN, &[&keys.meta, &keys.participants, &keys.readers])
        .arg(server_id)
        .arg(epoch)
        .time(ROOM_LIFE)
        .time(READER_LEASE)
}

/// Appends events with the sequence numbers of this server from `seq` on.
pub(super) fn append(
    room: &RoomName,
    keys: &RoomKeys,
    server_id: &str,
    (seq, appends): (u64, &[Append]),
) -> Script {
    let all = [
        &keys.meta,
        &keys.history,
        &keys.participants,
        &keys.presence,
        &keys.owners,
    ];
    let script = Script::new(&APPEND, &all)
        .arg(server_id)
        .arg(seq)
        .arg(keys.partition.channel())
        .arg(head(room))
        .arg(HISTORY_EVENTS)
        .time(ROOM_LIFE)
        .time(PRESENCE_TIME);
    appends.iter().fold(script, |script, append| {
        let (change, participant, value) = change(&append.change);
        script
            .arg(body(append))
            .arg(change)
            .arg(participant)
            .arg(value)
    })
}

fn change(change: &Change) -> (&'static str, &str, String) {
    match change {
        Change::None => ("none", "", String::new()),
        Change::Put(participant) => ("put", participant.participant.as_str(), json(participant)),
        Change::Remove(participant) => ("remove", participant.as_str(), String::new()),
        Change::RemoveOurs(participant) => ("remove-ours", participant.as_str(), String::new()),
        Change::RemoveAbsent(participant) => ("remove-absent", participant.as_str(), String::new()),
    }
}

/// The published form of a message outside the history.
pub(super) fn ephemeral(room: &RoomName, server_id: &str, message: &Ephemeral) -> String {
    let message = serde_json::to_string(message).expect("messages are plain data");
    format!(
        "{}\"by\":\"{server_id}\",\"message\":{message}}}",
        head(room)
    )
}

/// Writes to `key`, which expires after [`PROBE_LIFE`].
pub(super) fn probe(key: &str) -> Script {
    Script::new(&PROBE, &[&key.to_owned()]).time(PROBE_LIFE)
}

pub(super) fn since(keys: &RoomKeys, epoch: &Epoch, offset: u64) -> Script {
    Script::new(&SINCE, &[&keys.meta, &keys.history])
        .arg(epoch)
        .arg(offset)
}

pub(super) fn touch(
    keys: &RoomKeys,
    server_id: &str,
    participants: &[ParticipantId],
    time: Duration,
) -> Script {
    let script = Script::new(&TOUCH, &all(keys))
        .arg(server_id)
        .time(ROOM_LIFE)
        .time(READER_LEASE)
        .time(time);
    participants.iter().fold(script, Script::arg)
}

pub(super) fn absent(keys: &RoomKeys) -> Script {
    Script::new(&ABSENT, &[&keys.presence, &keys.participants])
}

pub(super) fn claim(
    room: &RoomName,
    keys: &RoomKeys,
    server_id: &str,
    participant: &ParticipantId,
) -> Script {
    Script::new(&CLAIM, &[&keys.meta, &keys.owners])
        .arg(server_id)
        .arg(keys.partition.channel())
        .arg(head(room))
        .arg(participant)
        .time(ROOM_LIFE)
}

pub(super) fn close(keys: &RoomKeys, server_id: &str) -> Script {
    Script::new(&CLOSE, &all(keys)).arg(server_id)
}

/// Creates the room with `epoch` and `base`, if it does not exist.
pub(super) fn restore(keys: &RoomKeys, server_id: &str, epoch: &Epoch, base: &Base) -> Script {
    let mut script = Script::new(&RESTORE, &all(keys))
        .arg(server_id)
        .arg(epoch)
        .arg(base.offset())
        .time(ROOM_LIFE)
        .time(READER_LEASE)
        .time(PRESENCE_TIME)
        .arg(base.roster.len());
    for participant in base.roster.participants() {
        script = script.arg(&participant.participant).arg(json(participant));
    }
    for entry in &base.history {
        let (event, to, change) = (entry.event.clone(), entry.to.clone(), Change::None);
        let body = body(&Append { event, to, change });
        script = script.arg(entry.offset).arg(format!("{{{body}}}"));
    }
    script
}

/// Gives the history a new epoch, if its epoch is still `old`.
pub(super) fn restart(room: &RoomName, keys: &RoomKeys, (old, new): (&Epoch, &Epoch)) -> Script {
    Script::new(&RESTART, &[&keys.meta])
        .arg(old)
        .arg(new)
        .arg(keys.partition.channel())
        .arg(head(room))
}

fn all(keys: &RoomKeys) -> [&String; 6] {
    let RoomKeys {
        meta,
        history,
        participants,
        presence,
        owners,
        readers,
        ..
    } = keys;
    [meta, history, participants, presence, owners, readers]
}
