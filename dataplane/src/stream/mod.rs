//! All TCP connections of clients on a shard: TURN over TCP and TLS, HTTP on the TLS port, and sessions over TCP (RFC
//! 6544).
//!
//! No call blocks. [`Streams::poll`] does a bounded amount of ready work, and puts messages into an [`Arrivals`].
//! [`Streams::send`] queues a whole message or drops it. [`Streams::flush`] writes the queues to the kernel. The
//! shard's loop sleeps on [`Streams::as_fd`]. An unauthenticated client gets a connection, a few kilobytes, and 30 s to
//! get an allocation or a session.

mod id; // ids of streams
mod listen; // listening sockets
mod layer; // bytes over plain TCP or TLS
mod upstream; // connections to the HTTP upstream
mod connection; // phase and deadlines of one connection
mod accept; // accepts connections
mod take; // reads messages, and detects the protocol
mod arrivals; // messages received in one turn
mod alias; // alias addresses of streams
mod counts; // counters
mod renewals; // reloads of the certificate
#[cfg(test)]
mod tests; // real connections on loopback

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{Timespec, epoll};
use rustls::ServerConfig;
use slab::Slab;

pub use alias::{Alias, ShortId};
pub use arrivals::{Arrivals, Event};
pub use counts::{Counts, EndReason};
pub use listen::{Listener, ListenerKind, bind};
pub use renewals::Renewals;
pub use take::PROTOCOLS;

use id::index_of;

use crate::drop_reason::DropReason;
use crate::io::timers::Timers;
use crate::limits::{
    HANDSHAKE_STEPS_PER_TURN, STREAM_BYTES_PER_TURN, STREAM_EVENTS_PER_TURN, STREAM_OUTBOX_BYTES,
    STREAM_READ_BYTES, TIMERS_PER_TURN,
};
use crate::turn::{Client, StreamId};
use connection::{Connection, Phase};

/// Options of TLS connections.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Certificate and ALPN protocols; `None` without TLS.
    pub config: Option<Arc<ServerConfig>>,
    /// Results of certificate reloads.
    pub renewals: Option<Arc<Renewals>>,
    /// Address of the HTTP upstream, if set.
    pub http: Option<SocketAddr>,
}

/// Listeners and connections of one shard.
pub struct Streams {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    tls: TlsOptions,
    connections: Slab<Connection>,
    serial: u64,
    /// Number of connections from each IPv4 address or IPv6 /64.
    by_source: HashMap<u128, u16>,
    timers: Timers,
    /// Connections with bytes to write.
    dirty: Vec<usize>,
    /// Connections that may have data that epoll does not report: decrypted by TLS, or not read yet.
    with_more_data: VecDeque<usize>,
    /// Clients whose streams ended outside of [`Streams::poll`].
    gone: Vec<Client>,
    buffer: Box<[u8]>,
    /// Time of the next attempt to accept, after an error.
    accept_again: Option<Instant>,
    handshake_steps: usize,
    /// Number of bytes that may still be read in this turn.
    budget_bytes: usize,
    counts: Counts,
}

/// The socket that an epoll event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener(usize),
    Client(usize),
    Upstream(usize),
}

impl Streams {
    /// Accepts connections of `listeners`.
    pub fn new(listeners: Vec<Listener>, tls: TlsOptions) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, listener) in listeners.iter().enumerate() {
            let token = Token::Listener(index).data();
            epoll::add(&epoll, &listener.socket, token, epoll::EventFlags::IN)?;
        }
        let mut counts = Counts::default();
        counts.renewals.clone_from(&tls.renewals);
        Ok(Self {
            epoll,
            listeners,
            tls,
            connections: Slab::new(),
            serial: 0,
            by_source: HashMap::new(),
            timers: Timers::default(),
            dirty: Vec::new(),
            with_more_data: VecDeque::new(),
            gone: Vec::new(),
            buffer: vec![0; STREAM_READ_BYTES].into_boxed_slice(),
            accept_again: None,
            handshake_steps: 0,
            budget_bytes: 0,
            counts,
        })
    }

    /// Does a bounded amount of ready work. True when more may be ready.
    pub fn poll(&mut self, now: Instant, arrivals: &mut Arrivals) -> bool {
        for client in self.gone.drain(..) {
            arrivals.gone(client);
        }
        if self.listeners.is_empty() && self.connections.is_empty() {
            return false;
        }
        self.handshake_steps = HANDSHAKE_STEPS_PER_TURN;
        self.budget_bytes = STREAM_BYTES_PER_TURN;
        self.time_out(now, arrivals);
        self.read_more(now, arrivals);
        let mut events = [MaybeUninit::uninit(); STREAM_EVENTS_PER_TURN];
        let at_once = Timespec::default();
        let Ok((ready, _)) = epoll::wait(&self.epoll, &mut events, Some(&at_once)) else {
            return true; // interrupted
        };
        let mut more = ready.len() == STREAM_EVENTS_PER_TURN;
        for event in ready.iter() {
            let flags = event.flags;
            more |= match Token::of(event.data.u64()) {
                Token::Listener(index) => self.accept(index, now),
                // The kernel reports these again, after the others.
                Token::Client(_) | Token::Upstream(_) if self.budget_bytes == 0 => true,
                Token::Client(index) => self.client_ready(index, flags, now, arrivals),
                Token::Upstream(index) => self.upstream_ready(index, flags, now),
            };
        }
        more || !self.with_more_data.is_empty()
    }

    /// Queues a message made of `parts`, completely or not at all.
    pub fn send(&mut self, stream: StreamId, parts: [&[u8]; 3]) -> Result<(), DropReason> {
        let index = index_of(stream);
        let connection = self.connections.get_mut(index);
        let connection = connection.filter(|connection| connection.id == stream);
        let connection = connection.ok_or(DropReason::NotConnected)?;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if connection.layer.waiting_bytes() + bytes > STREAM_OUTBOX_BYTES {
            self.counts.dropped_messages += 1;
            return Err(DropReason::SendBufferFull);
        }
        parts.iter().for_each(|part| connection.layer.push(part));
        connection.layer.end_message(bytes);
        mark(&mut self.dirty, connection, index);
        Ok(())
    }

    /// The open stream with this short id, if there is one.
    pub fn named(&self, short: ShortId) -> Option<StreamId> {
        let id = self.connections.get(short.index())?.id;
        (ShortId::of(id) == short).then_some(id)
    }

    /// Writes queued bytes to the kernel.
    pub fn flush(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            connection.is_dirty = false;
            match connection.layer.write() {
                Ok(bytes) => {
                    self.counts.bytes_out += bytes as u64;
                    if bytes > 0 && matches!(connection.phase, Phase::Http(_)) {
                        connection.last_activity = now;
                    }
                    match connection.is_closing && !connection.layer.wants_write() {
                        true => self.finish(index, now),
                        false => self.after(index),
                    }
                }
                Err(_gone) => self.end_outside(index, EndReason::Left),
            }
        }
    }

    /// Marks `stream` as used by an allocation or a session. Unused streams are closed after a time limit.
    pub fn keep(&mut self, stream: StreamId, is_kept: bool, now: Instant) {
        let index = index_of(stream);
        let connection = self.connections.get_mut(index);
        if let Some(connection) = connection.filter(|connection| connection.id == stream)
            && connection.is_kept != is_kept
        {
            connection.keep(is_kept, now);
            self.set_timer(index);
        }
    }

    /// Time when [`Streams::poll`] must be called even if no event is ready.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.timers.next();
        timers.into_iter().chain(self.accept_again).min()
    }

    /// Counters of the streams of this shard.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn time_out(&mut self, now: Instant, arrivals: &mut Arrivals) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.listen(epoll::EventFlags::IN);
        }
        for _ in 0..TIMERS_PER_TURN {
            let Some(index) = self.timers.pop_due(now) else {
                return;
            };
            let Some(connection) = self.connections.get(index) else {
                continue;
            };
            if connection.deadline().is_none_or(|deadline| deadline > now) {
                self.set_timer(index);
                continue;
            }
            let reason = match &connection.phase {
                Phase::Http(upstream) if upstream.is_connecting() => {
                    self.upstream_failed(index, &io::ErrorKind::TimedOut.into());
                    self.after(index);
                    continue;
                }
                Phase::Lingering => EndReason::Done,
                Phase::Handshake
                | Phase::Undecided
                | Phase::Turn(_)
                | Phase::Ice(_)
                | Phase::Http(_) => match connection.layer.is_blocked {
                    true => EndReason::Stuck,
                    false => EndReason::TooSlow,
                },
            };
            self.end(index, reason, arrivals);
        }
    }

    /// Reads from connections that had more data, the longest waiting one first.
    fn read_more(&mut self, now: Instant, arrivals: &mut Arrivals) {
        for _ in 0..self.with_more_data.len().min(STREAM_EVENTS_PER_TURN) {
            if self.budget_bytes == 0 {
                return;
            }
            let Some(index) = self.with_more_data.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(index) {
                connection.may_have_data = false;
                self.client_ready(index, epoll::EventFlags::IN, now, arrivals);
            }
        }
    }

    fn spend(&mut self, bytes: usize) {
        self.budget_bytes = self.budget_bytes.saturating_sub(bytes);
    }

    /// A deadline that no longer applies stays in the heap, and is ignored when its time comes.
    fn set_timer(&mut self, index: usize) {
        let connection = self.connections.get(index);
        if let Some(deadline) = connection.and_then(Connection::deadline) {
            self.timers.set(index, deadline);
        }
    }

    /// The response of connection `index` is complete; further bytes are discarded for some time.
    fn finish(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if connection.has_ended {
            return self.end_outside(index, EndReason::Done);
        }
        connection.layer.close_write();
        connection.set_protocol(Phase::Lingering, now);
        connection.is_closing = false;
        self.after(index);
    }

    fn listen(&self, flags: epoll::EventFlags) {
        for (index, listener) in self.listeners.iter().enumerate() {
            let token = Token::Listener(index).data();
            // Cannot fail, because the descriptor was added before.
            let _ = epoll::modify(&self.epoll, &listener.socket, token, flags);
        }
    }

    /// Makes epoll watch the events that connection `index` can handle now.
    fn watch(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let wanted_events = connection.wanted_events();
        if wanted_events != connection.watched {
            connection.watched = wanted_events;
            let (token, socket) = (Token::Client(index).data(), &connection.layer.socket);
            let _ = epoll::modify(&self.epoll, socket, token, wanted_events);
        }
    }

    fn end(&mut self, index: usize, reason: EndReason, arrivals: &mut Arrivals) {
        if let Some(client) = self.remove(index, reason) {
            arrivals.gone(client);
        }
    }

    fn end_outside(&mut self, index: usize, reason: EndReason) {
        let client = self.remove(index, reason);
        self.gone.extend(client);
    }

    /// Removes a connection; closing removes its sockets from the epoll set. Returns the client, if an event was
    /// reported for it.
    fn remove(&mut self, index: usize, reason: EndReason) -> Option<Client> {
        let mut connection = self.connections.try_remove(index)?;
        connection.layer.close_write();
        self.timers.clear(index);
        self.counts.end(reason);
        let client = connection.client();
        if let Some(count) = self.by_source.get_mut(&client.source()) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&client.source());
            }
        }
        tracing::trace!(remote = %connection.remote, ?reason, "a stream ended");
        let is_known = matches!(connection.phase, Phase::Turn(_) | Phase::Ice(_));
        is_known.then_some(client)
    }
}

impl AsFd for Streams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Token {
    fn data(self) -> epoll::EventData {
        let (kind, index) = match self {
            Self::Listener(index) => (0, index),
            Self::Client(index) => (1, index),
            Self::Upstream(index) => (2, index),
        };
        epoll::EventData::new_u64((index as u64) << 2 | kind)
    }

    fn of(data: u64) -> Self {
        let index = usize::try_from(data >> 2).expect("it was a usize");
        match data & 3 {
            0 => Self::Listener(index),
            1 => Self::Client(index),
            _ => Self::Upstream(index),
        }
    }
}

fn mark(dirty: &mut Vec<usize>, connection: &mut Connection, index: usize) {
    if !connection.is_dirty {
        connection.is_dirty = true;
        dirty.push(index);
    }
}
