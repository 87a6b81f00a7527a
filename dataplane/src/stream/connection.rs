//! One connection: its protocol, its state and its deadlines.

use std::net::SocketAddr;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use spillway_wire::turn::{MAX_FRAME_BYTES, Prefixed, Splitter, TurnStream};

use super::layer::Layer;
use super::upstream::Upstream;
use crate::limits::{
    HANDSHAKE_TIME, LINGER_TIME, MAX_DATAGRAM_BYTES, MAX_STRANGER_MESSAGE_BYTES, MESSAGE_TIME,
    PROVE_TIME, PROXY_BYTES, PROXY_IDLE, SESSION_SILENCE, UPSTREAM_TIME,
};
use crate::turn::{Client, StreamId, Transport};

pub(super) struct Connection {
    pub(super) id: StreamId,
    pub(super) layer: Layer,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) phase: Phase,
    /// True while an allocation or a session uses the stream.
    pub(super) is_kept: bool,
    /// Time of the last change of the phase.
    pub(super) since: Instant,
    /// Arrival time of the first byte of an incomplete message; `None` between messages.
    pub(super) partial_since: Option<Instant>,
    /// Time of the last received bytes; for HTTP, also of sent bytes.
    pub(super) last_activity: Instant,
    /// True while the connection is in the list of connections with bytes to write.
    pub(super) is_dirty: bool,
    /// True while the connection is in the list of connections that may have more data.
    pub(super) may_have_data: bool,
    /// True: the connection ends when all bytes are written.
    pub(super) is_closing: bool,
    /// True when the client will send no more bytes.
    pub(super) has_ended: bool,
    /// Events that epoll watches for the connection.
    pub(super) watched: EventFlags,
}

/// Phase of a connection, with its protocol.
pub(super) enum Phase {
    /// The TLS handshake is not complete.
    Handshake,
    /// The first byte has not arrived.
    Undecided,
    /// TURN: STUN and ChannelData messages.
    Turn(Splitter<TurnStream>),
    /// Datagrams of a session, each with a length prefix (RFC 4571).
    Ice(Splitter<Prefixed>),
    /// HTTP, which is passed to the control plane.
    Http(Box<Upstream>),
    /// The response was sent; further bytes are discarded.
    Lingering,
}

/// A length prefix (RFC 4571) and the longest datagram for a session, in bytes.
const MAX_ICE_FRAME_BYTES: usize = 2 + MAX_DATAGRAM_BYTES;

impl Phase {
    pub(super) fn turn() -> Self {
        Self::Turn(Splitter::new(MAX_STRANGER_MESSAGE_BYTES))
    }

    pub(super) fn ice() -> Self {
        Self::Ice(Splitter::new(MAX_ICE_FRAME_BYTES))
    }
}

impl Connection {
    pub(super) fn new(
        id: StreamId,
        layer: Layer,
        (remote, local): (SocketAddr, SocketAddr),
        phase: Phase,
        now: Instant,
    ) -> Self {
        Self {
            id,
            layer,
            remote,
            local,
            phase,
            is_kept: false,
            since: now,
            partial_since: None,
            last_activity: now,
            is_dirty: false,
            may_have_data: false,
            is_closing: false,
            has_ended: false,
            watched: EventFlags::IN,
        }
    }

    /// The TURN client of the connection.
    pub(super) fn client(&self) -> Client {
        let transport = match self.layer.is_tls() {
            true => Transport::Tls,
            false => Transport::Tcp,
        };
        Client::stream(transport, self.id, self.remote, self.local)
    }

    /// Sets the detected protocol; the deadlines of the phase start now.
    pub(super) fn set_protocol(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// Marks the stream as used by an allocation or a session, or as unused.
    pub(super) fn keep(&mut self, is_kept: bool, now: Instant) {
        self.is_kept = is_kept;
        self.since = now;
        if let Phase::Turn(splitter) = &mut self.phase {
            splitter.set_limit(match is_kept {
                true => MAX_FRAME_BYTES,
                false => MAX_STRANGER_MESSAGE_BYTES,
            });
        }
    }

    /// Records whether an incomplete message is waiting for more bytes.
    pub(super) fn note_partial(&mut self, now: Instant) {
        let is_partial = match &self.phase {
            Phase::Turn(splitter) => splitter.is_within_message(),
            Phase::Ice(splitter) => splitter.is_within_message(),
            Phase::Handshake | Phase::Undecided | Phase::Http(_) | Phase::Lingering => false,
        };
        self.partial_since = is_partial.then(|| self.partial_since.unwrap_or(now));
    }

    /// Time when the connection ends if nothing happens before; `None` for a stream with an allocation.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let whole = match &self.phase {
            Phase::Handshake | Phase::Undecided => Some(self.since + HANDSHAKE_TIME),
            Phase::Turn(_) if self.is_kept => None,
            Phase::Ice(_) if self.is_kept => Some(self.last_activity + SESSION_SILENCE),
            Phase::Turn(_) | Phase::Ice(_) => Some(self.since + PROVE_TIME),
            Phase::Http(upstream) if upstream.is_connecting() => Some(self.since + UPSTREAM_TIME),
            Phase::Http(_) => Some(self.last_activity + PROXY_IDLE),
            Phase::Lingering => Some(self.since + LINGER_TIME),
        };
        let partial = self.partial_since.map(|since| since + MESSAGE_TIME);
        let closing = self.is_closing.then(|| self.last_activity + MESSAGE_TIME);
        let all = whole.into_iter().chain(partial).chain(closing);
        all.min()
    }

    /// Events that epoll should watch.
    pub(super) fn wanted_events(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        let is_full = match &self.phase {
            Phase::Http(upstream) => upstream.waiting_bytes() >= PROXY_BYTES,
            Phase::Handshake
            | Phase::Undecided
            | Phase::Turn(_)
            | Phase::Ice(_)
            | Phase::Lingering => false,
        };
        if !is_full && !self.has_ended && !self.is_closing {
            flags |= EventFlags::IN;
        }
        if self.layer.is_blocked {
            flags |= EventFlags::OUT;
        }
        flags
    }
}
