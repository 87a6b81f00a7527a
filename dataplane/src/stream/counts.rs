//! Counters of streams: plain integers that the shard copies into its report.

use std::sync::Arc;

use super::{ListenerKind, Renewals};

/// Reason for the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum EndReason {
    /// The client or its host closed the connection.
    Left,
    /// The bytes are not a valid message, handshake or request.
    Garbage,
    /// A handshake, a message or authentication took too long, or the client of a session was silent for too long.
    TooSlow,
    /// The client does not read, so nothing can be sent.
    Stuck,
    /// There are too many streams, in total or from the client's address.
    TooMany,
    /// The client requested a protocol that is not served.
    NotServed,
    /// The response was sent completely.
    Done,
}

/// Counters of streams since the start of the shard.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    accepted: [u64; ListenerKind::COUNT],
    ended: [u64; EndReason::COUNT],
    /// Number of completed TLS handshakes.
    pub handshakes: u64,
    /// Messages that were dropped because the client reads too slowly.
    pub dropped_messages: u64,
    /// Number of streams that are open now.
    pub open: u64,
    /// Bytes of received messages.
    pub bytes_in: u64,
    /// Bytes passed to the kernel.
    pub bytes_out: u64,
    /// Reloads of the certificate, which all shards share; `None` without TLS.
    pub renewals: Option<Arc<Renewals>>,
}

impl EndReason {
    /// Number of reasons for the end of a stream.
    pub const COUNT: usize = Self::Done as usize + 1;

    /// All reasons, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Left,
        Self::Garbage,
        Self::TooSlow,
        Self::Stuck,
        Self::TooMany,
        Self::NotServed,
        Self::Done,
    ];

    /// Label of the counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Garbage => "garbage",
            Self::TooSlow => "too_slow",
            Self::Stuck => "stuck",
            Self::TooMany => "too_many",
            Self::NotServed => "not_served",
            Self::Done => "done",
        }
    }
}

impl ListenerKind {
    /// Number of listener kinds.
    pub const COUNT: usize = 3;

    /// All kinds, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [Self::Turn, Self::Tls, Self::Ice];

    /// Label of the counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Tls => "tls",
            Self::Ice => "ice",
        }
    }
}

impl Counts {
    /// Number of connections accepted by listeners of `kind`.
    pub fn accepted(&self, kind: ListenerKind) -> u64 {
        self.accepted[kind as usize]
    }

    /// Number of streams that ended for `reason`.
    pub fn ended(&self, reason: EndReason) -> u64 {
        self.ended[reason as usize]
    }

    pub(super) fn accept(&mut self, kind: ListenerKind) {
        self.accepted[kind as usize] += 1;
        self.open += 1;
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        self.ended[reason as usize] += 1;
        self.open -= 1;
    }

    /// Counts a connection that was refused immediately.
    pub(super) fn refuse(&mut self) {
        self.ended[EndReason::TooMany as usize] += 1;
    }
}
