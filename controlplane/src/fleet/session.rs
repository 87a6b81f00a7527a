//! Sessions and their parts, as rooms and nodes exchange them.

use serde::Serialize;

use super::SessionAnnotation;
use crate::history::Track;
use crate::ids::{SessionId, TrackId};

/// The state of a session on its node.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldSession {
    /// Name of the session on the node.
    pub session: SessionId,
    /// The annotation; `None` if another version or another control plane wrote it.
    pub annotation: Option<SessionAnnotation>,
    /// Shard of the connected session; `None` before it is connected.
    pub connected_shard: Option<u32>,
    /// Tracks of a publish session.
    pub tracks: Vec<Published>,
    /// Subscriptions of a subscribe session.
    pub subscriptions: Vec<(TrackId, SubscriptionParams)>,
    /// The unanswered offer of a subscribe session.
    pub outstanding_offer: Option<Offer>,
    /// Owner of the lease; empty if there is none.
    pub owner: String,
    /// True while the lease is valid.
    pub is_leased: bool,
}

/// A track, and its m-line in the SDP of the publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The m-line's mid (RFC 8843).
    pub mid: String,
    /// The track of the m-line.
    pub track: Track,
}

/// Parameters of a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionParams {
    /// True: no media is sent for this subscription.
    pub paused: bool,
    /// Maximum height of the video layer in pixels; 0: no limit.
    pub max_height: u32,
    /// Subscriptions with a higher priority get bandwidth first; 0 is the default.
    pub priority: u32,
}

/// Tracks of one sync group are played in sync (lip sync).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroup {
    /// Media stream id in `a=msid` (RFC 8830); the browser plays tracks of one stream in sync.
    pub stream: String,
    /// CNAME (RFC 3550 section 6.5.1): tracks with one CNAME have one clock.
    pub cname: String,
}

/// A node's offer for a subscribe session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Increases with each offer. The answer names it.
    pub revision: u64,
    /// SDP of the offer.
    pub sdp: String,
    /// The track of each m-line of the offer.
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
