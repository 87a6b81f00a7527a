//! Media between the session that received it and the sessions that it is sealed for.

use super::backlog::Backlog;
use super::schedule::{Portion, Schedule};
use crate::key::{SubscriberIndex, TrackKey};
use crate::media::packet::MediaPacket;
use crate::send::stream::Planned;

/// Packets and the sessions that wait for them. The lists are empty between turns and keep their allocations.
#[derive(Default)]
pub struct Forwarding {
    /// Media received by sessions here, not yet measured and copied.
    pub inbox: Vec<MediaPacket>,
    /// Media that subscribers here have yet to get, from here and elsewhere.
    pub backlog: Backlog,
    /// The sessions it has to be sealed for.
    pub schedule: Schedule,
    /// Portions of the session that is being sealed.
    pub portions: Vec<Portion>,
    /// Packets of the session that is being sealed for.
    pub numbered: Vec<Numbered>,
    /// Subscriptions that began or changed layers while packets were numbered.
    pub switched: Vec<SubscriberIndex>,
    /// Subscriptions without a codec of the publisher, found while numbering.
    pub undecodable: Vec<Undecodable>,
}

/// A subscription without a codec of the publisher.
#[derive(Debug, Clone, Copy)]
pub struct Undecodable {
    /// The session and subscription without a common codec.
    pub at: SubscriberIndex,
    /// The track of the subscription.
    pub track: TrackKey,
    /// The publisher's codec, as an index into the codecs of the track.
    pub codec: u8,
}

/// A packet that has its numbers and waits to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// Place of the packet in the backlog.
    pub packet: u32,
    /// Index of the m-line in the session.
    pub slot: usize,
    /// Numbers and size of the packet.
    pub planned: Planned,
}
