//! Outputs of a session: datagrams, media and events.

use str0m::net::Transmit;

use crate::drop_reason::Drops;
use crate::dtls::handshake::FailureKind;
use crate::ice::credentials::Ufrag;
use crate::key::{LayerIndex, SubscriptionIndex, TrackKey};
use crate::media::packet::MediaPacket;
use crate::media::subscription::Subscription;
use crate::report::Sample;

/// What a session gives out; owned by the caller and emptied by it.
#[derive(Default)]
pub struct Output {
    /// Datagrams to send to the client.
    pub transmits: Vec<Transmit>,
    /// Decrypted media packets of the publisher.
    pub packets: Vec<MediaPacket>,
    /// What the surroundings have to know.
    pub events: Vec<PeerEvent>,
    /// What a subscriber asks for again: m-line, sequence number.
    pub lost: Vec<(usize, u16)>,
    /// Packets that were dropped, by reason.
    pub drops: Drops,
}

/// Why a subscription ended that its client did not take, in the protocol's words.
pub const REJECTED: &str = "rejected";

/// Reason of the protocol for a subscription without media: the subscriber negotiated no codec that the publisher
/// sends.
pub const NO_CODEC: &str = "no_codec";

/// What the surroundings of a session have to know.
#[derive(Debug)]
pub enum PeerEvent {
    /// ICE and DTLS are up.
    Connected,
    /// It is over; why, for people.
    Closed(String),
    /// It is over before it began.
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
    /// A subscriber negotiated no codec for what is published.
    Undecodable(TrackKey),
    /// A subscriber lost a frame of this subscription.
    KeyframeWanted(SubscriptionIndex),
    /// A subscriber's bandwidth was estimated anew.
    EstimateChanged,
    /// A subscriber reported what it received.
    Measured(Sample),
    /// The client does not take the m-line of this track: its subscription ended.
    Rejected(TrackKey),
    /// Subscriptions that ended, with their state.
    Unsubscribed(Vec<Subscription>),
    /// The client restarted ICE.
    NewUfrag {
        /// The session answers to this ufrag now,
        ufrag: Ufrag,
        /// and no longer to this one.
        retired: Option<Ufrag>,
    },
}

/// What the control plane can see of a session.
#[derive(Debug, Clone, Default)]
pub struct PeerState {
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Subscriptions: track, m-line, layer that flows.
    pub subscriptions: Vec<SubscriptionState>,
    /// The offer that waits for an answer.
    pub outstanding: Option<OfferOut>,
    /// Of the latest offer.
    pub revision: u64,
}

/// What the control plane can see of a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionState {
    /// The track of the subscription.
    pub track: TrackKey,
    /// What was asked for.
    pub wish: crate::media::layer_allocation::Wish,
    /// The m-line; empty until offered.
    pub mid: String,
    /// The layer that is forwarded now.
    pub layer: Option<LayerIndex>,
    /// Its rid, where the shard knows the track; empty without simulcast.
    pub rid: String,
}

/// An offer for the client.
#[derive(Debug, Clone)]
pub struct OfferOut {
    /// Counts the session's offers.
    pub revision: u64,
    /// SDP of the offer.
    pub sdp: String,
    /// What plays on which m-line.
    pub mids: Vec<(String, TrackKey)>,
}
