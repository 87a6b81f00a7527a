//! Messages between people, servers and nodes, and datagrams between people and nodes.

use std::time::Duration;

use spillway_controlplane::fleet::convert::Request as CommandRequest;
use spillway_controlplane::ids::SessionId;
use spillway_controlplane::room::SocketId;
use spillway_wire::dataplane as proto;
use spillway_wire::demux::{Protocol, protocol};

use super::World;
use super::message::Message;
use super::person::{Link, Person};
use crate::client::frames;
use crate::fault::FaultKind;
use crate::network::Datagram;
use crate::node::{CallId, NodeCall, NodeResult, StreamId, StreamItem};
use crate::pipes::{Host, Route};
use crate::server::FromServer;

/// Time of a message between a person and a server.
const TO_SERVER: Duration = Duration::from_millis(15);
/// Time of a message between a server and a node.
const TO_NODE: Duration = Duration::from_millis(3);
/// Longest time for which a send buffer is full.
const FULL_SOCKET: Duration = Duration::from_millis(1_000);
/// Channels between a server and a node: calls and events travel apart.
const CALLS: u64 = 0;
const EVENTS: u64 = 1;

impl World {
    /// A message has arrived.
    pub(super) fn dispatch(&mut self, route: Route, message: Message) {
        let now = self.clock.now();
        match (route.from, route.to) {
            (Host::Person(person), Host::Server(server)) => {
                self.at_server(person, server, route.channel, message);
            }
            (Host::Server(server), Host::Person(person)) => {
                self.at_person(person, server, route.channel, message);
            }
            (Host::Server(server), Host::Node(node)) => {
                let Message::Call(id, call) = message else {
                    return;
                };
                self.in_flight.next += 1;
                let number = self.in_flight.next;
                self.in_flight.calls.insert(number, (server, node, id));
                if let NodeCall::Watch(stream) = &call {
                    self.in_flight.streams.insert(*stream, (server, node));
                }
                self.checks.called(self.nodes[node].addr, number, &call);
                self.name_tracks(&call);
                if let Some(node) = &mut self.nodes[node].node {
                    node.call(CallId(number), call, now);
                }
            }
            (Host::Node(node), Host::Server(server)) => {
                let name = self.nodes[node].name.clone();
                let Some(state) = &mut self.servers[server].server else {
                    return;
                };
                state.set_now(now);
                match message {
                    Message::Reply(id, result) => state.on_node_result(id, result),
                    Message::Event(stream, StreamItem::Event(event)) => {
                        state.on_node_event(&name, stream, event);
                    }
                    Message::Event(stream, StreamItem::Ended) => state.on_broken(&name, stream),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Notes which names the tracks of a person's packets have.
    fn name_tracks(&mut self, call: &NodeCall) {
        let NodeCall::Command(CommandRequest::PutPublish(put)) = call else {
            return;
        };
        let Ok(session) = put.session.parse::<SessionId>() else {
            return;
        };
        let id = session.participant.to_string();
        let is_of = |person: &&Person| {
            let stay = person.signaling.stay.as_ref();
            stay.is_some_and(|stay| stay.participant == id)
        };
        let Some(person) = self.people.iter().find(is_of) else {
            return;
        };
        for track in &put.tracks {
            if let Ok(mid) = track.mid.parse() {
                let names = self.track_names.entry(person.stamp(mid)).or_default();
                names.insert(track.track.clone());
            }
        }
    }

    fn at_server(&mut self, person: usize, server: usize, channel: u64, message: Message) {
        let now = self.clock.now();
        let socket = SocketId(channel);
        let Some(state) = &mut self.servers[server].server else {
            return self.send_to_person(person, server, channel, Message::Refused);
        };
        state.set_now(now);
        match message {
            Message::Open => state.open_socket(socket),
            Message::Text(text) => state.receive_text(socket, &text),
            Message::Pong => state.receive_pong(socket),
            Message::Gone => state.lose_socket(socket),
            _ => {}
        }
    }

    fn at_person(&mut self, person: usize, server: usize, channel: u64, message: Message) {
        let now = self.clock.now();
        let state = &mut self.people[person];
        let Link::Open {
            socket, heard_at, ..
        } = &mut state.link
        else {
            return;
        };
        if *socket != SocketId(channel) {
            return;
        }
        *heard_at = now;
        match message {
            Message::Server(FromServer::Frames(bytes)) => match frames::texts(&bytes) {
                Ok(texts) => {
                    for text in texts {
                        self.hear(person, text);
                    }
                }
                Err(rest) => {
                    let length = rest.len();
                    self.violate(5, format!("person {person}: {length} bytes are no frame"));
                }
            },
            Message::Server(FromServer::Ping) => {
                self.send_to_server(person, server, channel, Message::Pong);
            }
            Message::Server(FromServer::Closed(code)) => {
                self.disconnected(person, u64::from(code));
            }
            Message::Refused => self.disconnected(person, 1_006),
            _ => {}
        }
    }

    pub(super) fn send_to_server(
        &mut self,
        person: usize,
        server: usize,
        channel: u64,
        message: Message,
    ) {
        let route = Route {
            from: Host::Person(person),
            to: Host::Server(server),
            channel,
        };
        let now = self.clock.now();
        self.pipes.send(route, message, TO_SERVER, now);
    }

    fn send_to_person(&mut self, person: usize, server: usize, channel: u64, message: Message) {
        let route = Route {
            from: Host::Server(server),
            to: Host::Person(person),
            channel,
        };
        let now = self.clock.now();
        self.pipes.send(route, message, TO_SERVER, now);
    }

    /// A server sends something on a socket.
    pub(super) fn server_told(&mut self, server: usize, socket: SocketId, message: FromServer) {
        let of = |link: &Link| matches!(link, Link::Open { socket: of, .. } if *of == socket);
        let mut people = self.people.iter();
        let Some(person) = people.position(|person| of(&person.link)) else {
            return;
        };
        if let FromServer::Frames(bytes) = &message {
            self.note("server", || {
                let text = String::from_utf8_lossy(bytes);
                format!("{server} to person {person}: {text}")
            });
        }
        self.send_to_person(person, server, socket.0, Message::Server(message));
    }

    /// All sockets of a server break; the clients notice.
    pub(super) fn refuse_sockets_of(&mut self, server: usize) {
        for person in 0..self.people.len() {
            if let Link::Open {
                server: at, socket, ..
            } = self.people[person].link
                && at == server
            {
                self.send_to_person(person, server, socket.0, Message::Refused);
            }
        }
    }

    pub(super) fn send_call(&mut self, server: usize, node: usize, id: CallId, call: NodeCall) {
        let route = Route {
            from: Host::Server(server),
            to: Host::Node(node),
            channel: CALLS,
        };
        let now = self.clock.now();
        if self.nodes[node].node.is_none() {
            // The node is down: the connection is refused.
            let said = "connection refused".to_owned();
            let error = spillway_controlplane::fleet::NodeError::Unavailable(said);
            return self.reply(server, node, id, Err(error));
        }
        self.pipes
            .send(route, Message::Call(id, call), TO_NODE, now);
    }

    fn reply(&mut self, server: usize, node: usize, id: CallId, result: NodeResult) {
        let route = Route {
            from: Host::Node(node),
            to: Host::Server(server),
            channel: CALLS,
        };
        let now = self.clock.now();
        let message = Message::Reply(id, result);
        self.pipes.send(route, message, TO_NODE, now);
    }

    pub(super) fn node_replied(&mut self, node: usize, call: CallId, result: NodeResult) {
        if self.checks.is_own(call) {
            return self.on_state(node, result);
        }
        let now = self.clock.now();
        // A full send buffer holds back what was sent before.
        let mut active = self.active.iter();
        let is_full = active.any(|fault| fault.kind == FaultKind::FullSocket);
        let drains = if is_full { FULL_SOCKET } else { Duration::ZERO };
        self.note("reply", || format!("node {node} {call:?}: {result:?}"));
        let answered = (call.0, result.is_ok());
        self.checks
            .replied(self.nodes[node].addr, answered, (now, drains));
        if let Some((server, node, id)) = self.in_flight.calls.remove(&call.0) {
            self.reply(server, node, id, result);
        }
    }

    pub(super) fn send_event(&mut self, node: usize, stream: StreamId, item: StreamItem) {
        let Some((server, _)) = self.in_flight.streams.get(&stream).copied() else {
            return;
        };
        if let StreamItem::Event(event) = &item {
            let is_levels = matches!(event, proto::event::Event::Levels(_));
            self.note(if is_levels { "levels" } else { "event" }, || {
                format!("node {node} to server {server}: {event:?}")
            });
        }
        let route = Route {
            from: Host::Node(node),
            to: Host::Server(server),
            channel: EVENTS,
        };
        let now = self.clock.now();
        self.pipes
            .send(route, Message::Event(stream, item), TO_NODE, now);
    }

    /// A datagram has arrived.
    pub(super) fn deliver(&mut self, datagram: Datagram) {
        let now = self.clock.now();
        let mut nodes = self.nodes.iter_mut();
        if let Some(host) = nodes.find(|host| host.addr == datagram.to) {
            if let Some(node) = &mut host.node {
                node.arrive(datagram);
            }
            return;
        }
        let Some((person, place)) = self.session_by_addr.get(&datagram.to).copied() else {
            return;
        };
        let person = &mut self.people[person];
        let session = match place {
            0 => &mut person.publish,
            _ => &mut person.view,
        };
        // No socket is left at an earlier address.
        if let Some(session) = session
            && session.transport.local() == datagram.to
        {
            session.receive(&datagram.bytes, now);
        }
    }

    pub(super) fn sent_by_node(&mut self, datagram: Datagram) {
        let to = datagram.to.to_string();
        self.record("node", &[to.as_bytes(), &datagram.bytes]);
        if let Some((person, 1)) = self.session_by_addr.get(&datagram.to).copied() {
            self.look_at_media(person, &datagram);
        }
        let now = self.clock.now();
        self.network.send(datagram, now);
    }

    pub(super) fn send_of_people(&mut self) {
        let now = self.clock.now();
        for index in 0..self.people.len() {
            self.name_addresses(index);
            if let Link::Open { server, socket, .. } = self.people[index].link {
                while let Some(text) = self.people[index].signaling.poll_text() {
                    self.note("client", || format!("person {index}: {text}"));
                    self.send_to_server(index, server, socket.0, Message::Text(text));
                }
            }
            let mut sent = Vec::new();
            for session in self.people[index].sessions_mut() {
                while let Some(datagram) = session.poll() {
                    sent.push(datagram);
                }
            }
            for datagram in sent {
                if self.people[index].misbehaves && protocol(&datagram.bytes) == Some(Protocol::Rtp)
                {
                    let kept = datagram.bytes.clone();
                    self.checks.seen_datagrams.insert(index, kept);
                }
                let from = datagram.from.to_string();
                self.record("client", &[from.as_bytes(), &datagram.bytes]);
                self.network.send(datagram, now);
            }
        }
    }

    fn name_addresses(&mut self, index: usize) {
        let person = &self.people[index];
        for (place, session) in [(0, &person.publish), (1, &person.view)] {
            if let Some(session) = session {
                let addr = session.transport.local();
                self.session_by_addr.insert(addr, (index, place));
            }
        }
    }

    /// Asks a node for its state, for the invariants.
    pub(super) fn ask_state(&mut self, node: usize, number: u64) {
        let now = self.clock.now();
        if let Some(node) = &mut self.nodes[node].node {
            let call = NodeCall::State(proto::GetStateRequest::default());
            node.call(CallId(number), call, now);
        }
    }
}
