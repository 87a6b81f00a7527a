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
    /// What was written on it; `None` where a newer or other control plane did.
    pub annotation: Option<SessionAnnotation>,
    /// Where it is connected; `None` while it is not.
    pub connected_shard: Option<u32>,
    /// Of a publish session.
    pub tracks: Vec<Published>,
    /// Of a subscribe session: what is subscribed to, and how.
    pub subscriptions: Vec<(TrackId, Wish)>,
    /// Of a subscribe session: what was offered and is not answered.
    pub outstanding_offer: Option<Offer>,
    /// The server with the session's lease; empty: none.
    pub owner: String,
    /// Whether that lease goes on.
    pub is_leased: bool,
}

/// A track and its place in the SDP of its publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// What is published there.
    pub track: Track,
}

/// How a subscriber wants a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Nothing of it is sent.
    pub paused: bool,
    /// Pixels of the highest layer; 0: no limit.
    pub max_height: u32,
    /// Higher gets bandwidth first; 0 is the default.
    pub priority: u32,
}

/// What is played in sync with what.
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
    /// Which track plays on which m-line from this offer on.
    pub tracks: Vec<MidTrack>,
}

/// Which track an m-line carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MidTrack {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// The track on the m-line.
    pub track: TrackId,
}
