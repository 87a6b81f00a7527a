//! Outputs of a session: datagrams, media and events.

use str0m::net::Transmit;

use crate::drop_reason::Drops;
use crate::dtls::handshake::FailureKind;
use crate::ice::credentials::Ufrag;
use crate::key::{LayerIndex, SubscriptionIndex, TrackKey};
use crate::media::packet::MediaPacket;
use crate::media::subscription::Subscription;
use crate::report::Sample;

/// Outputs of one call to a session. The caller handles and clears them.
#[derive(Default)]
pub struct Output {
    /// Datagrams to send to the client.
    pub transmits: Vec<Transmit>,
    /// Decrypted media packets of the publisher.
    pub packets: Vec<MediaPacket>,
    /// Events for the shard.
    pub events: Vec<PeerEvent>,
    /// Packets to retransmit: index of the m-line, and sequence number (from a subscriber's NACK).
    pub lost: Vec<(usize, u16)>,
    /// Packets that were dropped, by reason.
    pub drops: Drops,
}

/// Reason in the gRPC schema for the end of a subscription: the client rejected its m-line.
pub const REJECTED: &str = "rejected";

/// Reason in the gRPC schema for a subscription without media: the subscriber negotiated no codec that the publisher
/// sends.
pub const NO_CODEC: &str = "no_codec";

/// Events of a session for its shard.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are established.
    Connected,
    /// The session has ended, for this reason (for logs).
    Closed(String),
    /// The DTLS handshake failed.
    HandshakeFailed {
        /// Kind of the failure.
        kind: FailureKind,
        /// Description of the failure, for the log.
        reason: String,
    },
    /// The tracks of a publisher changed: `gone` have ended, all others must be announced again.
    TracksChanged {
        /// Tracks that are no longer published.
        gone: Vec<TrackKey>,
    },
    /// A subscribe session sends an offer to its client.
    Offer(OfferOut),
    /// The m-lines of a subscriber were negotiated: its subscriptions can be connected.
    Negotiated,
    /// A subscriber negotiated no codec of the publisher.
    Undecodable(TrackKey),
    /// A subscriber needs a keyframe for this subscription, because it lost a frame.
    KeyframeWanted(SubscriptionIndex),
    /// The bandwidth estimate of a subscriber changed.
    EstimateChanged,
    /// A quality sample from a receiver report of a subscriber.
    Measured(Sample),
    /// The client rejected the m-line of this track, so its subscription has ended.
    Rejected(TrackKey),
    /// Subscriptions that have ended, with their state.
    Unsubscribed(Vec<Subscription>),
    /// The client restarted ICE.
    NewUfrag {
        /// The ufrag whose checks are answered now.
        ufrag: Ufrag,
        /// The ufrag that is no longer valid.
        retired: Option<Ufrag>,
    },
}

/// State of a session for the control plane.
#[derive(Debug, Clone, Default)]
pub struct PeerState {
    /// ICE and DTLS are established.
    pub connected: bool,
    /// State of each subscription.
    pub subscriptions: Vec<SubscriptionState>,
    /// The offer that waits for an answer.
    pub outstanding: Option<OfferOut>,
    /// Revision of the latest offer.
    pub revision: u64,
}

/// State of a subscription for the control plane.
#[derive(Debug, Clone)]
pub struct SubscriptionState {
    /// The track of the subscription.
    pub track: TrackKey,
    /// Parameters of the subscription.
    pub params: crate::media::layer_allocation::SubscriptionParams,
    /// The m-line; empty until offered.
    pub mid: String,
    /// The layer that is forwarded now.
    pub layer: Option<LayerIndex>,
    /// Rid of the forwarded layer; empty without simulcast, or if the shard does not know the track.
    pub rid: String,
}

/// An offer for the client.
#[derive(Debug, Clone)]
pub struct OfferOut {
    /// Number of the offer in its session; starts at 1.
    pub revision: u64,
    /// SDP of the offer.
    pub sdp: String,
    /// The track of each m-line.
    pub mids: Vec<(String, TrackKey)>,
}
