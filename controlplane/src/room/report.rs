//! A room's state for the admin API. The API adds what the data plane knows.

use serde::Serialize;

use super::Room;
use super::member::{Attachment, Member};
use crate::history::Track;
use crate::ids::{Epoch, Generation, Half, Identity, NodeId, ParticipantId, RoomName, TrackId};

/// A room on this server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct RoomReport {
    pub room: RoomName,
    pub epoch: Epoch,
    pub offset: u64,
    pub participants: Vec<MemberReport>,
}

/// A participant. Fields that only its own server knows are `None` on other servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct MemberReport {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub tracks: Vec<Track>,
    /// `attached`, `away` (no socket, within the grace time) or `elsewhere` (served by another
    /// server).
    pub socket: &'static str,
    /// Node of the participant's sessions.
    pub node: NodeId,
    /// Generation of the participant's sessions.
    pub generation: Generation,
    pub publish_shard: Option<u32>,
    pub subscribe_shard: Option<u32>,
    pub wanted_tracks: Vec<TrackId>,
}

impl Room {
    /// The current state of the room.
    pub fn report(&self) -> RoomReport {
        let listed = self.roster.participants().map(|p| {
            let member = self.member_by_id.get(&p.participant);
            let shard = |half| {
                let session = self.session_by_id.get(&member?.session(half))?;
                session.connected_shard()
            };
            MemberReport {
                participant: p.participant.clone(),
                identity: p.identity.clone(),
                name: p.name.clone(),
                tracks: p.tracks.clone(),
                socket: socket(member),
                node: p.node.clone(),
                generation: p.generation,
                publish_shard: shard(Half::Publish),
                subscribe_shard: shard(Half::Subscribe),
                wanted_tracks: member
                    .map(|m| m.subscriptions.params_by_track.keys().cloned().collect())
                    .unwrap_or_default(),
            }
        });
        RoomReport {
            room: self.name.clone(),
            epoch: self.epoch.clone(),
            offset: self.roster.offset(),
            participants: listed.collect(),
        }
    }
}

fn socket(member: Option<&Member>) -> &'static str {
    match member.map(|m| m.attachment) {
        Some(Attachment::Attached(_) | Attachment::Joining(_)) => "attached",
        Some(Attachment::Away { .. }) => "away",
        None => "elsewhere",
    }
}
