//! A participant with its socket on this server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::SocketId;
use crate::auth::Grants;
use crate::fleet::{Published, SessionAnnotation, Wish};
use crate::ids::{
    Epoch, Generation, Half, Identity, NodeId, ParticipantId, RoomName, SessionId, TrackId,
};

/// Everything the server knows beyond the roster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) participant: ParticipantId,
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) grants: Grants,
    pub(super) auto_subscribe: bool,
    /// Node of both of its sessions.
    pub(super) node: NodeId,
    /// Generation of its sessions.
    pub(super) generation: Generation,
    pub(super) attachment: Attachment,
    pub(super) stay: Stay,
    /// End of its stay, after a return without a valid token.
    pub(super) ends_at: Option<Instant>,
    /// The media was lost while the participant had no socket.
    pub(super) owes_lost: bool,
    /// Its tracks, with or without media.
    pub(super) track_by_id: BTreeMap<TrackId, Published>,
    pub(super) subscriptions: Subscriptions,
}

/// Claims of a resume key, besides the participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    /// Start of the history that it may see.
    pub(super) since: (Epoch, u64),
    /// Time of its first join, seconds since 1970.
    pub(super) joined_s: u64,
    /// Expiry of its latest valid token, seconds since 1970.
    pub(super) token_ends_s: u64,
}

/// State of a participant's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attachment {
    /// Its `joined` was not sent yet.
    Entering(SocketId),
    Attached(SocketId),
    /// The participant leaves then.
    Away {
        until: Instant,
    },
}

/// Subscriptions of a participant, and the state of its node.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Requested subscriptions, by track.
    pub(super) wish_by_track: BTreeMap<TrackId, Wish>,
    /// Tracks with changes that the node may not have.
    pub(super) dirty: BTreeSet<TrackId>,
    /// Tracks that the node may have, requested or not.
    pub(super) known: BTreeSet<TrackId>,
    /// End of the pause after a command: later changes are sent together.
    pub(super) rests_until: Option<Instant>,
    /// Taken out by the client's own wish: not subscribed again by itself.
    pub(super) declined: BTreeSet<TrackId>,
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

    pub(super) fn session(&self, half: Half) -> SessionId {
        self.participant.session(half, self.generation)
    }

    pub(super) fn sessions(&self) -> [SessionId; 2] {
        self.participant.sessions(self.generation)
    }

    pub(super) fn annotation(&self, room: &RoomName) -> SessionAnnotation {
        let who = (
            self.participant.clone(),
            self.identity.clone(),
            self.name.clone(),
        );
        let (auto, grants) = (self.auto_subscribe, self.grants.clone());
        SessionAnnotation::new(room.clone(), who, auto, grants)
    }
}

impl Subscriptions {
    /// Changes the wish; true when the node must be told.
    pub(super) fn want(&mut self, track: &TrackId, wish: Wish) -> bool {
        self.declined.remove(track);
        let old = self.wish_by_track.insert(track.clone(), wish);
        old != Some(wish) && self.dirty.insert(track.clone())
    }

    /// Wants the track no more; true when the node must be told.
    pub(super) fn unwant(&mut self, track: &TrackId) -> bool {
        self.wish_by_track.remove(track).is_some() && self.dirty.insert(track.clone())
    }

    /// The node forgot everything.
    pub(super) fn lose(&mut self) {
        self.known.clear();
        self.rests_until = None;
        self.dirty = self.wish_by_track.keys().cloned().collect();
    }
}
