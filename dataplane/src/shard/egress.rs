//! Queues of outgoing datagrams of a shard: for the media sockets, for TURN clients, and for TCP and TLS streams.

use super::next_hop::NextHops;
use super::turn_service::TurnService;
use crate::send::queue::SendQueues;
use crate::stream::{Arrivals, Streams};

/// Outgoing datagrams of a shard, and how each address is reached.
pub struct Egress {
    /// Datagrams that wait for the media sockets.
    pub queues: SendQueues,
    /// Addresses reached through TURN, a stream or another shard. All others are reached through the media sockets.
    pub next_hops: NextHops,
    /// The TURN server of the shard; `None` if TURN is off.
    pub turn: Option<Box<TurnService>>,
    /// Connections of clients over TCP and TLS.
    pub streams: Streams,
    /// Messages received from streams; empty between turns of the loop.
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
