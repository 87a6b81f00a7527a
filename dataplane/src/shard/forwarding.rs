//! Media between the receiving session and the sending sessions: hops 3 to 6 of the path.

use super::backlog::Backlog;
use super::schedule::{PendingPackets, Schedule};
use crate::key::{SubscriberIndex, TrackKey};
use crate::media::packet::MediaPacket;
use crate::send::stream::Planned;

/// Packets and the sessions that wait for them. All lists but the backlog are empty between turns of the loop; they
/// keep their allocations.
#[derive(Default)]
pub struct Forwarding {
    /// Media received by sessions of this shard, not yet measured and copied to other shards.
    pub inbox: Vec<MediaPacket>,
    /// Media from this and other shards that waits to be sealed for subscribers of this shard.
    pub backlog: Backlog,
    /// Sessions with packets in the backlog that must be sealed, in order.
    pub schedule: Schedule,
    /// Pending batches of the session that is being served.
    pub pending: Vec<PendingPackets>,
    /// Numbered packets of the session that is being served.
    pub numbered: Vec<Numbered>,
    /// Subscriptions that began or changed layers while packets were numbered.
    pub switched: Vec<SubscriberIndex>,
    /// Subscriptions without a codec of the publisher, found while numbering.
    pub undecodable: Vec<Undecodable>,
}

/// A subscription without a negotiated codec that the publisher sends.
#[derive(Debug, Clone, Copy)]
pub struct Undecodable {
    /// The session and subscription without a common codec.
    pub at: SubscriberIndex,
    /// The track of the subscription.
    pub track: TrackKey,
    /// The publisher's codec, as an index into the codecs of the track.
    pub codec: u8,
}

/// A packet with its outgoing numbers that waits to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// Number of the packet in the backlog.
    pub packet: u32,
    /// Index of the m-line in the session.
    pub slot: usize,
    /// Numbers and size of the packet.
    pub planned: Planned,
}
