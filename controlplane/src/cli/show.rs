//! `room ls`, `room show` and `node ls`: print answers of the admin API as tables.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use super::client::Target;
use crate::http::{NodeView, ParticipantView, RoomView};
use crate::ids::RoomName;
use crate::terminal::{print_json, print_line};

/// List the rooms of a server
#[derive(Debug, clap::Args)]
pub(super) struct RoomLs {
    #[command(flatten)]
    target: Target,
}

/// Show a room: participants, tracks, sessions, layers
#[derive(Debug, clap::Args)]
pub(super) struct RoomShow {
    /// Name of the room
    name: RoomName,
    #[command(flatten)]
    target: Target,
}

/// List the data planes and their shards
#[derive(Debug, clap::Args)]
pub(super) struct NodeLs {
    #[command(flatten)]
    target: Target,
}

impl RoomLs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut answer = self.target.get("/v1/admin/rooms")?;
        let rooms = answer["rooms"].take();
        if self.target.json {
            return print_json(&rooms);
        }
        let mut table = table(&["room", "participants", "tracks", "who"]);
        for room in rooms.as_array().into_iter().flatten() {
            let participants = room["participants"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let tracks = participants.iter().filter_map(|p| p["tracks"].as_array());
            let who: Vec<_> = participants
                .iter()
                .filter_map(|p| p["identity"].as_str())
                .collect();
            table.add_row([
                room["room"].as_str().unwrap_or("").to_owned(),
                participants.len().to_string(),
                tracks.map(Vec::len).sum::<usize>().to_string(),
                shortened(&who),
            ]);
        }
        print_table(&mut table, &[1, 2])
    }
}

impl RoomShow {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let answer = self
            .target
            .get(&format!("/v1/admin/rooms/{}", self.name.percent_encoded()))?;
        if self.target.json {
            return print_json(&answer);
        }
        let room: RoomView = serde_json::from_value(answer)?;
        print_line(&format!(
            "room {}, epoch {}, offset {}\n",
            room.room, room.epoch, room.offset
        ))?;
        let mut sessions = table(&[
            "identity",
            "participant",
            "socket",
            "node",
            "session",
            "connected",
            "shard",
        ]);
        let mut tracks = table(&["track", "of", "kind", "source", "muted", "layers"]);
        let mut subscriptions = table(&[
            "subscriber",
            "track",
            "mid",
            "layer",
            "paused",
            "max height",
        ]);
        for participant in &room.participants {
            add_sessions(&mut sessions, &mut subscriptions, participant);
            for track in participant.tracks.as_array().into_iter().flatten() {
                tracks.add_row(track_row(&participant.identity, track));
            }
        }
        print_table(&mut sessions, &[6])?;
        print_table(&mut tracks, &[])?;
        print_table(&mut subscriptions, &[5])
    }
}

/// Adds a row for each session of the participant, and one for each of its subscriptions.
fn add_sessions(sessions: &mut Table, subscriptions: &mut Table, of: &ParticipantView) {
    for (half, session) in [("publish", &of.publish), ("subscribe", &of.subscribe)] {
        let connected = session.as_ref().map_or("-", |s| yes(s.connected));
        let shard = session.as_ref().and_then(|s| s.shard);
        sessions.add_row([
            of.identity.clone(),
            of.participant.clone(),
            of.socket.clone(),
            of.node.clone(),
            half.to_owned(),
            connected.to_owned(),
            shard.map_or("-".to_owned(), |s| s.to_string()),
        ]);
        for subscription in session.iter().flat_map(|session| &session.subscriptions) {
            subscriptions.add_row([
                of.identity.clone(),
                subscription.track.clone(),
                subscription.mid.clone(),
                subscription.layer.clone(),
                yes(subscription.paused).to_owned(),
                subscription.max_height.to_string(),
            ]);
        }
    }
}

fn track_row(identity: &str, track: &Value) -> [String; 6] {
    let text = |key: &str| track[key].as_str().unwrap_or("").to_owned();
    let layers = track["layers"].as_array().into_iter().flatten();
    let layers = layers.map(|l| format!("{}:{}", l["rid"].as_str().unwrap_or(""), l["height"]));
    [
        text("track"),
        identity.to_owned(),
        text("kind"),
        text("source"),
        yes(track["muted"] == Value::Bool(true)).to_owned(),
        layers.collect::<Vec<_>>().join(" "),
    ]
}

impl NodeLs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut answer = self.target.get("/v1/admin/nodes")?;
        if self.target.json {
            return print_json(&answer);
        }
        for silent in answer["unreachable"].as_array().into_iter().flatten() {
            let text = |key: &str| silent[key].as_str().unwrap_or("?").to_owned();
            print_line(&format!(
                "node {} does not answer: {}\n",
                text("node"),
                text("error")
            ))?;
        }
        let nodes: Vec<NodeView> = serde_json::from_value(answer["nodes"].take())?;
        for node in &nodes {
            let (addresses, uptime) = (node.addresses.join(" "), node.uptime_ms / 1_000);
            print_line(&format!(
                "node {}, version {}, up {uptime} s, incarnation {}\nmedia addresses: {addresses}",
                node.node, node.version, node.incarnation
            ))?;
            let heads = [
                "shard",
                "core",
                "packets in",
                "packets out",
                "drops",
                "sessions",
                "tracks",
                "subscriptions",
                "busy",
            ];
            let mut table = table(&heads);
            for shard in &node.shards {
                table.add_row([
                    shard.shard.to_string(),
                    shard.core.to_string(),
                    shard.packets_in.to_string(),
                    shard.packets_out.to_string(),
                    shard.drops.to_string(),
                    shard.sessions.to_string(),
                    shard.tracks.to_string(),
                    shard.subscriptions.to_string(),
                    format!("{:.1} %", shard.busy * 100.0),
                ]);
            }
            print_table(&mut table, &[0, 1, 2, 3, 4, 5, 6, 7, 8])?;
        }
        Ok(())
    }
}

pub(super) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(heads);
    table
}

pub(super) fn print_table(table: &mut Table, numbers: &[usize]) -> anyhow::Result<()> {
    for index in numbers {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print_line(&format!("{table}\n"))
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn shortened(who: &[&str]) -> String {
    const SHOWN: usize = 5;
    match who.len().checked_sub(SHOWN) {
        None | Some(0) => who.join(", "),
        Some(more) => format!("{}, and {more} more", who[..SHOWN].join(", ")),
    }
}
