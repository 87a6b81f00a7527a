//! What the admin API shows of a room; the data plane's part is added there.

use serde::Serialize;

use super::Room;
use super::member::{Attachment, Member};
use crate::history::Track;
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};

/// A room on this server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // they say it themselves
pub struct RoomReport {
    pub room: RoomName,
    pub epoch: Epoch,
    pub offset: u64,
    pub participants: Vec<MemberReport>,
}

/// A participant; what only its own server knows is absent elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // they say it themselves
pub struct MemberReport {
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub tracks: Vec<Track>,
    /// `attached`, `away` (its socket broke) or `elsewhere` (another server's).
    pub socket: &'static str,
    pub publish_shard: Option<u32>,
    pub subscribe_shard: Option<u32>,
    pub wanted_tracks: Vec<TrackId>,
}

impl Room {
    /// The room as it is now.
    pub fn report(&self) -> RoomReport {
        let listed = self.roster.participants().map(|p| {
            let member = self.member_by_id.get(&p.participant);
            let subscribe = member.map(|m| &m.subscribe);
            MemberReport {
                participant: p.participant.clone(),
                identity: p.identity.clone(),
                name: p.name.clone(),
                tracks: p.tracks.clone(),
                socket: socket(member),
                publish_shard: member.and_then(|m| m.publish.connected_shard),
                subscribe_shard: subscribe.and_then(|s| s.connected_shard),
                wanted_tracks: subscribe
                    .map(|s| s.wish_by_track.keys().cloned().collect())
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
        Some(Attachment::Attached(_) | Attachment::Entering(_)) => "attached",
        Some(Attachment::Away { .. }) => "away",
        None => "elsewhere",
    }
}
