//! Counters of streams: plain integers that the shard copies into its report.

use std::sync::Arc;

use super::{ListenerKind, Renewals};

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum EndReason {
    /// The client or its host closed the connection.
    Left,
    /// The bytes are no message, no handshake and no request.
    Garbage,
    /// It took too long for a handshake, a message, or authentication; or it belongs to a session, and is silent.
    TooSlow,
    /// The client reads nothing, so nothing can be sent.
    Stuck,
    /// There are as many streams as there may be, all together or from its address.
    TooMany,
    /// The client requested a protocol that is not served.
    NotServed,
    /// The request was answered completely.
    Done,
}

/// Since the shard began.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    accepted: [u64; ListenerKind::COUNT],
    ended: [u64; EndReason::COUNT],
    /// TLS handshakes that came to their end.
    pub handshakes: u64,
    /// Messages that were dropped whole because the other end was behind.
    pub dropped_messages: u64,
    /// Streams that are open now.
    pub open: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes handed to the kernel.
    pub bytes_out: u64,
    /// Reloads of the certificate of all shards, with TLS.
    pub renewals: Option<Arc<Renewals>>,
}

impl EndReason {
    /// Number of reasons for the end of a stream.
    pub const COUNT: usize = Self::Done as usize + 1;

    /// All of them, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Left,
        Self::Garbage,
        Self::TooSlow,
        Self::Stuck,
        Self::TooMany,
        Self::NotServed,
        Self::Done,
    ];

    /// The label of its counter.
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

    /// All of them, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [Self::Turn, Self::Tls, Self::Ice];

    /// The label of its counter.
    pub fn label(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Tls => "tls",
            Self::Ice => "ice",
        }
    }
}

impl Counts {
    /// Streams that came in by `kind`.
    pub fn accepted(&self, kind: ListenerKind) -> u64 {
        self.accepted[kind as usize]
    }

    /// Streams that ended for `reason`.
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

    /// Counts a connection that was refused at once.
    pub(super) fn refuse(&mut self) {
        self.ended[EndReason::TooMany as usize] += 1;
    }
}
