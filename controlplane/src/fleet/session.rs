//! Types of sessions and their parts, shared by rooms and nodes.

use serde::Serialize;

use super::SessionAnnotation;
use crate::history::Track;
use crate::ids::{SessionId, TrackId};

/// A session that a node holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldSession {
    /// Name of the session on the node.
    pub session: SessionId,
    /// Its annotation; `None` if a newer or other control plane wrote it.
    pub annotation: Option<SessionAnnotation>,
    /// Shard that has the connected session; `None` while it is not connected.
    pub connected_shard: Option<u32>,
    /// Tracks of a publish session.
    pub tracks: Vec<Published>,
    /// Subscriptions of a subscribe session.
    pub subscriptions: Vec<(TrackId, Wish)>,
    /// The unanswered offer of a subscribe session.
    pub outstanding_offer: Option<Offer>,
    /// The server with the session's lease; empty: none.
    pub owner: String,
    /// True while that lease is valid.
    pub is_leased: bool,
}

/// A track and its place in the SDP of its publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// The track of the m-line.
    pub track: Track,
}

/// Parameters of a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// True: no media is sent.
    pub paused: bool,
    /// Pixels of the highest layer; 0: no limit.
    pub max_height: u32,
    /// Higher gets bandwidth first; 0 is the default.
    pub priority: u32,
}

/// Lip sync group: tracks with the same one play in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroup {
    /// Media stream id of `a=msid` (RFC 8830): tracks of one stream are played in sync.
    pub stream: String,
    /// CNAME (RFC 3550, section 6.5.1): tracks of one CNAME share a clock.
    pub cname: String,
}

/// A node's offer of a subscribe session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Counts up; the answer names it.
    pub revision: u64,
    /// SDP of the offer.
    pub sdp: String,
    /// The track of each m-line from this offer on.
    pub tracks: Vec<MidTrack>,
}

/// The track of an m-line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MidTrack {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// The track on the m-line.
    pub track: TrackId,
}
