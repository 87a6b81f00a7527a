//! Everything that datagrams of a shard leave by: media sockets, TURN, streams.

use super::next_hop::NextHops;
use super::turn_service::TurnService;
use crate::send::queue::SendQueues;
use crate::stream::{Arrivals, Streams};

/// Everything by which clients are reached.
pub struct Egress {
    /// Datagrams that wait for the media sockets.
    pub queues: SendQueues,
    /// Addresses that are reached otherwise.
    pub next_hops: NextHops,
    /// TURN, where clients are relayed.
    pub turn: Option<Box<TurnService>>,
    /// Connections of clients over TCP and TLS.
    pub streams: Streams,
    /// Received messages of streams; empty between turns.
    pub(crate) arrivals: Arrivals,
}

impl Egress {
    /// The egress of a shard without TURN.
    pub fn new(streams: Streams) -> Self {
        Self {
            queues: SendQueues::default(),
            next_hops: NextHops::default(),
            turn: None,
            streams,
            arrivals: Arrivals::default(),
        }
    }
}
