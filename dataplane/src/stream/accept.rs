//! Accepts connections within limits, with small kernel buffers, so that media does not wait in them for long.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustls::ServerConnection;
use socket2::{SockRef, TcpKeepalive};

use super::connection::{Connection, Phase};
use super::id::id_of;
use super::layer::Layer;
use super::{ListenerKind, Streams, Token};
use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_PER_TURN, MAX_STREAMS, MAX_STREAMS_PER_SOURCE, STREAM_UNSENT_BYTES,
};
use crate::turn::{Client, StreamId, Transport};

/// Interval of TCP keepalives. A client that has vanished is detected after about a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// Time limit for an acknowledgement of sent bytes. The kernel sends no keepalives while bytes are unacknowledged, and
/// would retransmit them for 15 minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

impl Streams {
    /// Accepts a bounded number of connections of listener `index`. True when more may wait.
    pub(super) fn accept(&mut self, index: usize, now: Instant) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = &self.listeners[index];
            let kind = listener.kind;
            match listener.socket.accept() {
                Ok((socket, remote)) => self.admit(kind, socket, remote, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    // No descriptors or no memory. Open streams continue. The next attempt is delayed, because a
                    // listener with a waiting connection is always readable.
                    tracing::warn!(%error, "no stream can be accepted for now");
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    self.listen(epoll::EventFlags::empty());
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, kind: ListenerKind, socket: TcpStream, remote: SocketAddr, now: Instant) {
        let Ok(local) = prepare(&socket) else {
            return; // the client has already disconnected
        };
        let source = Client::stream(Transport::Tcp, StreamId(0), remote, local).source();
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        if self.connections.len() >= MAX_STREAMS || of_source >= MAX_STREAMS_PER_SOURCE {
            return self.counts.refuse();
        }
        let tls = match (kind, &self.tls.config) {
            (ListenerKind::Tls, Some(config)) => ServerConnection::new(config.clone()).ok(),
            (ListenerKind::Tls | ListenerKind::Turn | ListenerKind::Ice, _) => None,
        };
        let phase = match kind {
            ListenerKind::Turn => Phase::turn(),
            ListenerKind::Ice => Phase::ice(),
            ListenerKind::Tls if tls.is_some() => Phase::Handshake,
            ListenerKind::Tls => return self.counts.refuse(),
        };
        let entry = self.connections.vacant_entry();
        let index = entry.key();
        let token = Token::Client(index).data();
        if epoll::add(&self.epoll, &socket, token, epoll::EventFlags::IN).is_err() {
            return self.counts.refuse();
        }
        self.serial += 1;
        let id = id_of(self.serial, index);
        let layer = Layer::new(socket, tls);
        let connection = Connection::new(id, layer, (remote, local), phase, now);
        entry.insert(connection);
        self.set_timer(index);
        self.counts.accept(kind);
        *self.by_source.entry(source).or_default() += 1;
    }
}

fn prepare(socket: &TcpStream) -> io::Result<SocketAddr> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let options = SockRef::from(socket);
    options.set_tcp_notsent_lowat(STREAM_UNSENT_BYTES)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_RETRIES);
    options.set_tcp_keepalive(&keepalive)?;
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.local_addr()
}

/// True if the error belongs to one connection, not to the listener (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut
    )
}
