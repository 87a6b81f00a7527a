//! Outputs of a session: datagrams, media and events.

use str0m::net::Transmit;

use crate::drop_reason::Drops;
use crate::dtls::handshake::FailureKind;
use crate::ice::credentials::Ufrag;
use crate::key::{LayerIndex, SubscriptionIndex, TrackKey};
use crate::media::packet::MediaPacket;
use crate::media::subscription::Subscription;
use crate::report::Sample;

/// Outputs of a session; the caller owns and empties them.
#[derive(Default)]
pub struct Output {
    /// Datagrams to send to the client.
    pub transmits: Vec<Transmit>,
    /// Decrypted media packets of the publisher.
    pub packets: Vec<MediaPacket>,
    /// Events for the shard.
    pub events: Vec<PeerEvent>,
    /// NACKs of a subscriber: m-line and sequence number.
    pub lost: Vec<(usize, u16)>,
    /// Packets that were dropped, by reason.
    pub drops: Drops,
}

/// Why a subscription ended that its client did not take, in the protocol's words.
pub const REJECTED: &str = "rejected";

/// Reason of the protocol for a subscription without media: the subscriber negotiated no codec that the publisher
/// sends.
pub const NO_CODEC: &str = "no_codec";

/// Events of a session for its shard.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are up.
    Connected,
    /// The session ended, with the reason for logs.
    Closed(String),
    /// The DTLS handshake failed.
    HandshakeFailed {
        /// Kind of the failure.
        kind: FailureKind,
        /// Description of the failure, for the log.
        reason: String,
    },
    /// A publisher's tracks changed: these are gone, the rest is to be announced.
    TracksChanged {
        /// Tracks that are no longer published.
        gone: Vec<TrackKey>,
    },
    /// A subscriber wants to negotiate.
    Offer(OfferOut),
    /// A subscriber's m-lines were negotiated.
    Settled,
    /// A subscriber negotiated no codec of the publisher.
    Undecodable(TrackKey),
    /// A subscriber lost a frame of this subscription.
    KeyframeWanted(SubscriptionIndex),
    /// A subscriber's bandwidth was estimated anew.
    EstimateChanged,
    /// A receiver report of a subscriber.
    Measured(Sample),
    /// The client does not take the m-line of this track: its subscription ended.
    Rejected(TrackKey),
    /// Subscriptions that ended, with their state.
    Unsubscribed(Vec<Subscription>),
    /// The client restarted ICE.
    NewUfrag {
        /// The session answers to this ufrag now,
        ufrag: Ufrag,
        /// The ufrag that is no longer valid.
        retired: Option<Ufrag>,
    },
}

/// State of a session for the control plane.
#[derive(Debug, Clone, Default)]
pub struct PeerState {
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Subscriptions: track, m-line, layer that flows.
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
    pub wish: crate::media::layer_allocation::Wish,
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
    /// Counts the session's offers.
    pub revision: u64,
    /// SDP of the offer.
    pub sdp: String,
    /// The track of each m-line.
    pub mids: Vec<(String, TrackKey)>,
}
