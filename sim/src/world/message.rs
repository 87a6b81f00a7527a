//! Messages between hosts, and the calls that have no answer yet.

use std::collections::BTreeMap;

use crate::node::{CallId, NodeCall, NodeResult, StreamId, StreamItem};
use crate::server::FromServer;

/// A message on a connection.
pub(super) enum Message {
    Open,
    Text(String),
    Pong,
    /// The client closes its connection.
    Gone,
    /// No server is at this address.
    Refused,
    Server(FromServer),
    Call(CallId, NodeCall),
    Reply(CallId, NodeResult),
    Event(StreamId, StreamItem),
}

/// Calls and streams of servers at nodes.
#[derive(Default)]
pub(super) struct InFlight {
    /// Server and node of each call, by number of the call at the node.
    pub(super) calls: BTreeMap<u64, (usize, usize, CallId)>,
    pub(super) streams: BTreeMap<StreamId, (usize, usize)>,
    pub(super) next: u64,
}

impl InFlight {
    pub(super) fn take_calls(&mut self, server: usize, node: usize) -> Vec<CallId> {
        let mut taken = Vec::new();
        self.calls.retain(|_, (of, at, id)| {
            let is_lost = (*of, *at) == (server, node);
            if is_lost {
                taken.push(*id);
            }
            !is_lost
        });
        taken
    }

    pub(super) fn take_streams(&mut self, server: usize, node: usize) -> Vec<StreamId> {
        let taken = self.streams.iter();
        let taken = taken.filter(|(_, pair)| **pair == (server, node));
        let taken: Vec<StreamId> = taken.map(|(stream, _)| *stream).collect();
        self.streams.retain(|stream, _| !taken.contains(stream));
        taken
    }

    pub(super) fn forget_server(&mut self, server: usize) {
        self.calls.retain(|_, (of, _, _)| *of != server);
    }
}
