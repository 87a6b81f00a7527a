//! Messages that arrived over streams in one turn. The shard handles them after all reads, because handling may write
//! to streams.

use std::net::SocketAddr;
use std::ops::Range;

use crate::turn::{Client, StreamId};

/// Events of streams in one turn, in order of arrival.
#[derive(Debug, Default)]
pub struct Arrivals {
    bytes: Vec<u8>,
    events: Vec<Placed>,
}

/// An event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A TURN message arrived.
    Turn {
        /// The TURN client of the stream.
        client: Client,
        /// The STUN or ChannelData message.
        message: &'a [u8],
    },
    /// A datagram for a session arrived (RFC 4571).
    Ice {
        /// The stream of the datagram.
        stream: StreamId,
        /// Alias address of the client.
        remote: SocketAddr,
        /// Our address that the client connected to.
        local: SocketAddr,
        /// The datagram, without its length prefix.
        datagram: &'a [u8],
    },
    /// The stream has ended.
    Gone {
        /// The TURN client of the stream.
        client: Client,
    },
}

#[derive(Debug, Clone)]
enum Placed {
    Turn(Client, Range<usize>),
    Ice((StreamId, SocketAddr, SocketAddr), Range<usize>),
    Gone(Client),
}

impl Arrivals {
    /// All events, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|event| match event {
            Placed::Turn(client, range) => Event::Turn {
                client: *client,
                message: &self.bytes[range.clone()],
            },
            Placed::Ice((stream, remote, local), range) => Event::Ice {
                stream: *stream,
                remote: *remote,
                local: *local,
                datagram: &self.bytes[range.clone()],
            },
            Placed::Gone(client) => Event::Gone { client: *client },
        })
    }

    /// Removes all events; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.events.clear();
    }

    pub(super) fn turn(&mut self, client: Client, message: &[u8]) {
        let range = self.keep(message);
        self.events.push(Placed::Turn(client, range));
    }

    pub(super) fn ice(&mut self, ends: (StreamId, SocketAddr, SocketAddr), datagram: &[u8]) {
        let range = self.keep(datagram);
        self.events.push(Placed::Ice(ends, range));
    }

    pub(super) fn gone(&mut self, client: Client) {
        self.events.push(Placed::Gone(client));
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}
