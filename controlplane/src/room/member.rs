//! Members: the participants of a room that this server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::SocketId;
use crate::auth::Grants;
use crate::fleet::{Published, SessionAnnotation, SubscriptionParams};
use crate::ids::{
    Epoch, Generation, Half, Identity, NodeId, ParticipantId, RoomName, SessionId, TrackId,
};

/// A participant of this server: the data that is not in the roster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) participant: ParticipantId,
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) grants: Grants,
    pub(super) auto_subscribe: bool,
    /// Node of the publish and subscribe sessions.
    pub(super) node: NodeId,
    /// Generation of the sessions.
    pub(super) generation: Generation,
    pub(super) attachment: Attachment,
    pub(super) stay: StayLimits,
    /// End of the stay after a resume with an expired token.
    pub(super) ends_at: Option<Instant>,
    /// True if media was lost while no socket was attached. The client gets a `media` message when
    /// it resumes.
    pub(super) must_report_lost: bool,
    /// Published tracks, with or without media.
    pub(super) track_by_id: BTreeMap<TrackId, Published>,
    pub(super) subscriptions: Subscriptions,
}

/// Claims for the resume key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StayLimits {
    /// Offset from which on the participant may see events.
    pub(super) since: (Epoch, u64),
    /// Time of the first join, seconds since 1970.
    pub(super) joined_s: u64,
    /// Expiry of the latest valid token, seconds since 1970.
    pub(super) token_ends_s: u64,
}

/// State of a participant's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attachment {
    /// `joined` has not been sent to the socket.
    Joining(SocketId),
    Attached(SocketId),
    /// No socket. The participant leaves at `until`.
    Away {
        until: Instant,
    },
}

/// Subscriptions of a participant, and which of them its node has.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Parameters of the requested subscriptions.
    pub(super) params_by_track: BTreeMap<TrackId, SubscriptionParams>,
    /// Tracks whose subscription changed and must be sent to the node.
    pub(super) dirty: BTreeSet<TrackId>,
    /// Tracks that the node may have a subscription for.
    pub(super) known: BTreeSet<TrackId>,
    /// End of the pause after a command. Changes during the pause are sent together.
    pub(super) paused_until: Option<Instant>,
    /// Tracks that the client unsubscribed from: automatic subscription skips them.
    pub(super) declined: BTreeSet<TrackId>,
}

impl Member {
    /// The socket that gets the room's events; `None` before `joined`.
    pub(super) fn socket(&self) -> Option<SocketId> {
        match self.attachment {
            Attachment::Attached(socket) => Some(socket),
            Attachment::Joining(_) | Attachment::Away { .. } => None,
        }
    }

    /// The socket, also before `joined`.
    pub(super) fn any_socket(&self) -> Option<SocketId> {
        match self.attachment {
            Attachment::Joining(socket) | Attachment::Attached(socket) => Some(socket),
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
    /// Subscribes to `track`. True if the node needs an update.
    pub(super) fn subscribe(&mut self, track: &TrackId, params: SubscriptionParams) -> bool {
        self.declined.remove(track);
        let old = self.params_by_track.insert(track.clone(), params);
        old != Some(params) && self.dirty.insert(track.clone())
    }

    /// Ends the subscription to `track`. True if the node needs an update.
    pub(super) fn unsubscribe(&mut self, track: &TrackId) -> bool {
        self.params_by_track.remove(track).is_some() && self.dirty.insert(track.clone())
    }

    /// True if automatic subscription may add `track`: the client neither has nor declined it.
    pub(super) fn is_open_for(&self, track: &TrackId) -> bool {
        !self.params_by_track.contains_key(track) && !self.declined.contains(track)
    }

    /// The node has lost all subscriptions: all must be sent again.
    pub(super) fn lose(&mut self) {
        self.known.clear();
        self.paused_until = None;
        self.dirty = self.params_by_track.keys().cloned().collect();
    }
}
