//! A participant whose sockets this server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::SocketId;
use super::annotation::SessionAnnotation;
use crate::auth::Grants;
use crate::history::Track;
use crate::ids::{Epoch, Identity, ParticipantId, RoomName, TrackId};
use crate::signaling::Frame;
use spillway_wire::dataplane as wire;

/// Everything the server knows beyond the roster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) participant: ParticipantId,
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) grants: Grants,
    pub(super) auto_subscribe: bool,
    pub(super) attachment: Attachment,
    pub(super) stay: Stay,
    /// It came back without a valid token, and is there no longer than this.
    pub(super) ends_at: Option<Instant>,
    /// The media was lost while nobody could be told.
    pub(super) owes_lost: bool,
    pub(super) publish: Publish,
    pub(super) subscribe: Subscribe,
}

/// What a resume key says of the participant, beside who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    /// Where the history that it may see begins.
    pub(super) since: (Epoch, u64),
    /// When it joined, seconds since 1970.
    pub(super) joined_s: u64,
    /// When its latest valid token ends, seconds since 1970.
    pub(super) token_ends_s: u64,
}

/// Whether there is a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attachment {
    /// Not yet told that it is in.
    Entering(SocketId),
    Attached(SocketId),
    /// The participant leaves then.
    Away {
        until: Instant,
    },
}

/// The publish session.
#[derive(Debug, Default)]
pub(super) struct Publish {
    /// The data plane has it.
    pub(super) established: bool,
    pub(super) connected_shard: Option<u32>,
    pub(super) track_by_id: BTreeMap<TrackId, Published>,
    /// The tracks have no media since; they are unpublished then.
    pub(super) reoffer_until: Option<Instant>,
}

/// A track and its place in the SDP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub(super) mid: String,
    pub(super) track: Track,
}

/// The subscribe session.
#[derive(Debug, Default)]
pub(super) struct Subscribe {
    /// The data plane has it.
    pub(super) established: bool,
    pub(super) connected_shard: Option<u32>,
    /// The data plane was full, and the client was told.
    pub(super) is_refused: bool,
    /// What the client wants, by track.
    pub(super) wish_by_track: BTreeMap<TrackId, wire::Wish>,
    /// Where the data plane may not know the wish yet.
    pub(super) dirty: BTreeSet<TrackId>,
    /// Which the data plane may have, wanted or not.
    pub(super) known: BTreeSet<TrackId>,
    /// It was told just now: what changes until then is told together.
    pub(super) rests_until: Option<Instant>,
    /// Taken out by the client's own wish: not subscribed again by itself.
    pub(super) declined: BTreeSet<TrackId>,
    pub(super) outstanding: Option<Outstanding>,
}

/// An offer that is not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outstanding {
    pub(super) revision: u64,
    pub(super) frame: Frame,
}

impl Member {
    /// The socket that follows the room.
    pub(super) fn socket(&self) -> Option<SocketId> {
        match self.attachment {
            Attachment::Attached(socket) => Some(socket),
            Attachment::Entering(_) | Attachment::Away { .. } => None,
        }
    }

    /// Its socket, even before `joined`.
    pub(super) fn any_socket(&self) -> Option<SocketId> {
        match self.attachment {
            Attachment::Entering(socket) | Attachment::Attached(socket) => Some(socket),
            Attachment::Away { .. } => None,
        }
    }

    pub(super) fn annotation(&self, room: &RoomName) -> Vec<u8> {
        let who = (
            self.participant.clone(),
            self.identity.clone(),
            self.name.clone(),
        );
        let (auto, grants) = (self.auto_subscribe, self.grants.clone());
        SessionAnnotation::new(room.clone(), who, auto, grants).encode()
    }
}

impl Subscribe {
    /// Changes the wish; true when the data plane must be told.
    pub(super) fn want(&mut self, track: &TrackId, wish: wire::Wish) -> bool {
        self.declined.remove(track);
        let old = self.wish_by_track.insert(track.clone(), wish);
        old != Some(wish) && self.dirty.insert(track.clone())
    }

    /// Wants the track no more; true when the data plane must be told.
    pub(super) fn unwant(&mut self, track: &TrackId) -> bool {
        self.wish_by_track.remove(track).is_some() && self.dirty.insert(track.clone())
    }

    /// The data plane forgot everything.
    pub(super) fn lose(&mut self) {
        self.established = false;
        self.is_refused = false;
        self.connected_shard = None;
        self.outstanding = None;
        self.known.clear();
        self.rests_until = None;
        self.dirty = self.wish_by_track.keys().cloned().collect();
    }
}
