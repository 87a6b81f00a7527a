//! Reads connections: detects their protocol, and splits bytes into messages.

use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};

use super::connection::{Connection, Phase};
use super::layer::ReadOutcome;
use super::upstream::{BAD_GATEWAY, NOT_SERVED, Upstream};
use super::{Arrivals, EndReason, Streams, Token, mark};
use crate::limits::{PROXY_BYTES, READS_PER_STREAM};

/// ALPN protocols (RFC 7443, RFC 7301).
const STUN_TURN: &[u8] = b"stun.turn";
const HTTP_1_1: &[u8] = b"http/1.1";
/// ALPN protocols offered over TLS, in order of preference.
pub const PROTOCOLS: [&[u8]; 2] = [STUN_TURN, HTTP_1_1];

impl Streams {
    /// Handles readiness of connection `index`. True when more may be ready.
    pub(super) fn client_ready(
        &mut self,
        index: usize,
        flags: EventFlags,
        now: Instant,
        arrivals: &mut Arrivals,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(index) else {
            return false; // ended by an event before this one
        };
        if flags.contains(EventFlags::OUT) {
            mark(&mut self.dirty, connection, index);
        }
        // Errors and hang-ups are detected by reading.
        let is_readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
        if !is_readable {
            return false;
        }
        if !connection.wanted_events().contains(EventFlags::IN) {
            // More data will be reported after a read. The kernel reports a closed connection even if no events are
            // watched.
            if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                self.end(index, EndReason::Left, arrivals);
            }
            return false;
        }
        if connection.layer.is_handshaking() {
            if self.handshake_steps == 0 {
                return true;
            }
            self.handshake_steps -= 1;
        }
        for _ in 0..READS_PER_STREAM {
            match self.read_once(index, now, arrivals) {
                Ok(true) => {}
                Ok(false) => {
                    self.after(index);
                    return false;
                }
                Err(reason) => {
                    self.end(index, reason, arrivals);
                    return false;
                }
            }
        }
        self.read_again(index);
        self.after(index);
        true
    }

    /// Connection `index` may have data that the kernel does not report.
    fn read_again(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index)
            && !connection.may_have_data
        {
            connection.may_have_data = true;
            self.with_more_data.push_back(index);
        }
    }

    /// Reads once. True when bytes arrived, so that there may be more.
    fn read_once(
        &mut self,
        index: usize,
        now: Instant,
        arrivals: &mut Arrivals,
    ) -> Result<bool, EndReason> {
        let connection = &mut self.connections[index];
        if matches!(connection.phase, Phase::Lingering) {
            return match connection.layer.discard(&mut self.buffer) {
                Ok(ReadOutcome::Bytes(bytes)) => {
                    self.spend(bytes);
                    Ok(true)
                }
                Ok(ReadOutcome::Nothing) => Ok(false),
                Ok(ReadOutcome::End) | Err(_) => Err(EndReason::Done),
            };
        }
        let read_outcome = connection.layer.read(&mut self.buffer);
        if matches!(connection.phase, Phase::Handshake) && !connection.layer.is_handshaking() {
            self.counts.handshakes += 1;
            let phase = self.agreed(index)?;
            self.connections[index].set_protocol(phase, now);
        }
        let connection = &mut self.connections[index];
        if connection.layer.wants_write() {
            mark(&mut self.dirty, connection, index);
        }
        match read_outcome {
            Ok(ReadOutcome::Bytes(bytes)) => {
                self.counts.bytes_in += bytes as u64;
                self.take(index, bytes, now, arrivals)?;
                self.spend(bytes);
                Ok(!self.connections[index].is_closing)
            }
            Ok(ReadOutcome::Nothing) => Ok(false),
            Ok(ReadOutcome::End) => match &mut self.connections[index].phase {
                // The response is not complete yet.
                Phase::Http(upstream) => {
                    upstream.client_ended();
                    self.connections[index].has_ended = true;
                    self.write_upstream(index);
                    Ok(false)
                }
                Phase::Handshake
                | Phase::Undecided
                | Phase::Turn(_)
                | Phase::Ice(_)
                | Phase::Lingering => Err(EndReason::Left),
            },
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(EndReason::Garbage)
            }
            Err(_reset) => Err(EndReason::Left),
        }
    }

    /// Protocol of the connection according to ALPN.
    fn agreed(&mut self, index: usize) -> Result<Phase, EndReason> {
        match self.connections[index].layer.protocol() {
            Some(STUN_TURN) => Ok(Phase::turn()),
            Some(HTTP_1_1) => Ok(self.http(index)),
            Some(_) => Err(EndReason::NotServed), // none that we offer
            None => Ok(Phase::Undecided),
        }
    }

    /// Handles this many new bytes in the buffer.
    fn take(
        &mut self,
        index: usize,
        bytes: usize,
        now: Instant,
        arrivals: &mut Arrivals,
    ) -> Result<(), EndReason> {
        if self.connections[index].is_closing {
            return Ok(()); // the response is being sent; other bytes are ignored
        }
        if matches!(self.connections[index].phase, Phase::Undecided) {
            let phase = match self.buffer[0] {
                0..=3 => Phase::turn(), // RFC 7983: STUN
                b'A'..=b'Z' => self.http(index),
                _ => return Err(EndReason::Garbage),
            };
            self.connections[index].set_protocol(phase, now);
        }
        let connection = &mut self.connections[index];
        let client = connection.client();
        connection.last_activity = now;
        let mut input = &self.buffer[..bytes];
        match &mut connection.phase {
            Phase::Turn(splitter) => {
                while let Some(message) =
                    splitter.next(&mut input).map_err(|_| EndReason::Garbage)?
                {
                    connection.partial_since = None; // another message starts
                    arrivals.turn(client, message);
                }
            }
            Phase::Ice(splitter) => {
                let ends = (connection.id, connection.remote, connection.local);
                while let Some(datagram) =
                    splitter.next(&mut input).map_err(|_| EndReason::Garbage)?
                {
                    connection.partial_since = None;
                    arrivals.ice(ends, datagram);
                }
            }
            Phase::Http(upstream) => {
                upstream.push(input);
                self.write_upstream(index);
            }
            Phase::Handshake | Phase::Undecided | Phase::Lingering => {} // handled above
        }
        self.connections[index].note_partial(now);
        Ok(())
    }

    /// Handles HTTP: connects to the upstream, or prepares an error response.
    fn http(&mut self, index: usize) -> Phase {
        let upstream = self.tls.http.map(|to| {
            let mut upstream = Upstream::connect(to)?;
            let token = Token::Upstream(index).data();
            upstream.watched = upstream.wanted_events(0);
            epoll::add(&self.epoll, &upstream.socket, token, upstream.watched)?;
            std::io::Result::Ok(upstream)
        });
        match upstream {
            Some(Ok(upstream)) => Phase::Http(Box::new(upstream)),
            Some(Err(error)) => {
                tracing::warn!(%error, "http cannot be passed on");
                self.respond_and_close(index, BAD_GATEWAY);
                Phase::Undecided
            }
            None => {
                self.respond_and_close(index, NOT_SERVED);
                Phase::Undecided
            }
        }
    }

    fn respond_and_close(&mut self, index: usize, response: &[u8]) {
        let connection = &mut self.connections[index];
        connection.layer.push(response);
        connection.is_closing = true;
        mark(&mut self.dirty, connection, index);
    }

    /// Handles readiness of the upstream of connection `index`.
    pub(super) fn upstream_ready(&mut self, index: usize, flags: EventFlags, now: Instant) -> bool {
        if flags.contains(EventFlags::OUT) {
            self.write_upstream(index);
            self.read_again(index);
        }
        let mut more = false;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            for _ in 0..READS_PER_STREAM {
                more = self.read_upstream(index, now);
                if !more {
                    break;
                }
            }
        }
        self.after(index);
        more
    }

    /// True when bytes arrived.
    fn read_upstream(&mut self, index: usize, now: Instant) -> bool {
        let Some((connection, upstream)) = proxied(&mut self.connections, index) else {
            return false;
        };
        if upstream.has_ended || connection.waiting_bytes() >= PROXY_BYTES {
            return false;
        }
        let read_outcome = upstream.read(&mut self.buffer);
        match read_outcome {
            Ok(ReadOutcome::Bytes(bytes)) => {
                connection.push(&self.buffer[..bytes]);
                let connection = &mut self.connections[index];
                connection.last_activity = now;
                mark(&mut self.dirty, connection, index);
                self.spend(bytes);
                true
            }
            Ok(ReadOutcome::Nothing) => false,
            Ok(ReadOutcome::End) if upstream.rejects_writes => {
                // The write may have consumed the error, so the read does not report it.
                self.upstream_failed(index, &std::io::ErrorKind::ConnectionReset.into());
                false
            }
            Ok(ReadOutcome::End) => {
                self.respond_and_close(index, &[]);
                false
            }
            Err(error) => {
                self.upstream_failed(index, &error);
                false
            }
        }
    }

    fn write_upstream(&mut self, index: usize) {
        let Some((_, upstream)) = proxied(&mut self.connections, index) else {
            return;
        };
        if let Err(error) = upstream.write() {
            self.upstream_failed(index, &error);
        }
    }

    pub(super) fn upstream_failed(&mut self, index: usize, error: &std::io::Error) {
        let Some((_, upstream)) = proxied(&mut self.connections, index) else {
            return;
        };
        upstream.has_ended = true;
        tracing::debug!(%error, "http is passed on no further");
        let response: &[u8] = match upstream.has_answered {
            true => &[], // the response has begun, so no error can be sent
            false => BAD_GATEWAY,
        };
        self.respond_and_close(index, response);
    }

    /// Updates the events that epoll watches for both sides.
    pub(super) fn after(&mut self, index: usize) {
        self.watch(index);
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let Phase::Http(upstream) = &mut connection.phase {
            let wanted_events = upstream.wanted_events(connection.layer.waiting_bytes());
            let (token, socket) = (Token::Upstream(index).data(), &upstream.socket);
            // epoll always reports a hang-up, so a socket without watched events is removed.
            let _ = match (upstream.watched.is_empty(), wanted_events.is_empty()) {
                (true, true) => Ok(()),
                (true, false) => epoll::add(&self.epoll, socket, token, wanted_events),
                (false, true) => epoll::delete(&self.epoll, socket),
                (false, false) if wanted_events == upstream.watched => Ok(()),
                (false, false) => epoll::modify(&self.epoll, socket, token, wanted_events),
            };
            upstream.watched = wanted_events;
        }
        self.set_timer(index);
    }
}

/// Both sides of a connection that passes HTTP on.
fn proxied(
    connections: &mut slab::Slab<Connection>,
    index: usize,
) -> Option<(&mut super::layer::Layer, &mut Upstream)> {
    let Connection { layer, phase, .. } = connections.get_mut(index)?;
    match phase {
        Phase::Http(upstream) => Some((layer, upstream)),
        Phase::Handshake | Phase::Undecided | Phase::Turn(_) | Phase::Ice(_) | Phase::Lingering => {
            None
        }
    }
}
