//! The signaling sockets of a server, as `signaling/socket.rs` runs them with an async runtime.

use std::collections::VecDeque;

use spillway_controlplane::hub::{RoomInput, ToSocket, outbox};
use spillway_controlplane::limits::PING_INTERVAL;
use spillway_controlplane::room::SocketId;
use spillway_controlplane::signaling::dialect::spillway::Spillway;
use spillway_controlplane::signaling::{Output, Session};

use super::socket::{FromServer, Socket};
use super::state::Server;
use crate::clock::Time;

impl Server {
    /// A client opens a socket.
    pub fn open_socket(&mut self, socket: SocketId) {
        self.has_input = true;
        let now = self.net.now();
        let (outbox, reader, endings) = outbox(&Spillway);
        let session = Session::new(
            std::sync::Arc::clone(&self.config.keys),
            self.config.limits,
            now.instant(),
        );
        let socket_state = Socket {
            session,
            room: None,
            outbox,
            reader,
            endings,
            next_ping: now + PING_INTERVAL,
            is_closed: false,
        };
        self.sockets.insert(socket, socket_state);
    }

    /// A text frame of a client.
    pub fn receive_text(&mut self, socket: SocketId, text: &str) {
        self.has_input = true;
        let (now, unix_s) = (self.net.now().instant(), self.time().unix_s);
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.session.handle_text(text, now, unix_s);
        }
        self.drain_session(socket);
    }

    /// A pong frame of a client.
    pub fn receive_pong(&mut self, socket: SocketId) {
        self.has_input = true;
        let now = self.net.now().instant();
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.session.handle_alive(now);
        }
    }

    /// The connection of a socket broke, or the client closed it.
    pub fn lose_socket(&mut self, socket: SocketId) {
        self.has_input = true;
        if let Some(state) = self.sockets.remove(&socket)
            && let Some(room) = state.room
        {
            self.send(&room, RoomInput::SocketGone(socket));
        }
    }

    /// Timers of sockets, and reasons to end.
    pub(super) fn run_sockets(&mut self) {
        let now = self.net.now();
        let ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        for id in ids {
            let Some(socket) = self.sockets.get_mut(&id) else {
                continue;
            };
            if let Some((code, reason)) = socket.endings.try_recv() {
                socket.session.handle_close(code, reason);
            }
            let timeout = socket.session.poll_timeout();
            if timeout.is_some_and(|at| at <= now.instant()) {
                socket.session.handle_timeout(now.instant());
            }
            if socket.next_ping <= now {
                socket.next_ping = now + PING_INTERVAL;
                self.to_sockets.push_back((id, FromServer::Ping));
            }
            self.drain_session(id);
        }
    }

    /// Time of the next timer of a socket.
    pub(super) fn next_of_sockets(&self) -> Option<Time> {
        let sockets = self.sockets.values();
        let of_socket = |socket: &Socket| {
            let timeout = socket.session.poll_timeout().map(Time::of);
            timeout.into_iter().chain([socket.next_ping]).min()
        };
        sockets.filter_map(of_socket).min()
    }

    fn drain_session(&mut self, id: SocketId) {
        while let Some(socket) = self.sockets.get_mut(&id)
            && let Some(output) = socket.session.poll_output()
        {
            match output {
                Output::Send(frame) => socket.outbox.send(frame),
                Output::Join(request) => {
                    let (room, outbox) = (request.room.clone(), socket.outbox.clone());
                    socket.room = Some(room.clone());
                    let join = RoomInput::Join {
                        socket: id,
                        outbox,
                        request,
                        node: self.choose(&room),
                    };
                    self.send(&room, join);
                }
                Output::Request {
                    id: number,
                    request,
                } => {
                    if let Some(room) = socket.room.clone() {
                        let request = RoomInput::Request {
                            socket: id,
                            id: number,
                            request,
                        };
                        self.send(&room, request);
                    }
                }
                Output::Close { code, reason } => {
                    socket.outbox.close(code, reason);
                    socket.is_closed = true;
                    if let Some(room) = socket.room.take() {
                        self.send(&room, RoomInput::SocketGone(id));
                    }
                }
            }
        }
    }

    /// Moves what the queues of sockets hold to the connections.
    pub(super) fn flush_sockets(&mut self) {
        let mut items = VecDeque::new();
        let mut closed = Vec::new();
        for (id, socket) in &mut self.sockets {
            // Without items the queue may still have overflowed.
            let _ = socket.reader.try_next(&mut items);
            let mut bytes = Vec::new();
            let mut code = None;
            for item in items.drain(..) {
                match item {
                    ToSocket::Frame(frame) => bytes.extend_from_slice(&frame.wire),
                    ToSocket::Bytes(wire) => bytes.extend_from_slice(&wire),
                    ToSocket::Close(with, _) => code = Some(with.number()),
                }
            }
            if !bytes.is_empty() {
                self.to_sockets.push_back((*id, FromServer::Frames(bytes)));
            }
            if let Some(code) = code {
                self.to_sockets.push_back((*id, FromServer::Closed(code)));
                closed.push(*id);
            } else if socket.is_closed && socket.outbox.overflowed() {
                // The queue was full: nothing more is written, and the connection ends.
                self.to_sockets.push_back((*id, FromServer::Closed(1006)));
                closed.push(*id);
            }
        }
        for id in closed {
            self.sockets.remove(&id);
        }
    }
}
