//! A room with its clients, nodes and store, which answer when a test says so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::node::Node;
use super::step::{Outcome, Step};
use super::store::left;
use crate::fleet::Command;
use crate::history::{Append, Entry, Ephemeral, Participant, Roster};
use crate::ids::{Epoch, NodeId, ParticipantId, SessionId, TrackId};
use crate::room::fixtures::config;
use crate::room::{Notice, Output, Room, SocketId, Then};

/// More outputs than one input may cause: a few for each participant, session and track.
const MAX_OUTPUTS: usize = 400;
/// Time between two looks at the timers while everything settles.
const TICK: Duration = Duration::from_millis(250);

/// A command that its node has not answered.
pub(super) struct Call {
    pub(super) node: usize,
    pub(super) incarnation: u32,
    pub(super) session: SessionId,
    pub(super) command: Command,
}

pub(super) struct World {
    pub(super) room: Room,
    pub(super) clients: Vec<Client>,
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) sockets: u64,
    /// Events of the store, and the participants after them.
    pub(super) log: Vec<Arc<Entry>>,
    pub(super) stored: Roster,
    /// Appends that the store has not answered.
    pub(super) appends: VecDeque<(Append, Then)>,
    pub(super) calls: Vec<Call>,
    /// Participants of another server.
    pub(super) elsewhere: Vec<Participant>,
    pub(super) has_store_failed: bool,
    /// Participants and tracks whose events and levels come to the room.
    pub(super) routed: (BTreeSet<ParticipantId>, BTreeSet<TrackId>),
}

impl World {
    pub(super) fn new(is_shared: bool) -> Self {
        let now = crate::clock::now();
        let name = "r".parse().expect("a name");
        let history = (Epoch::random(), Roster::default());
        Self {
            room: Room::new(
                name,
                Arc::new(config(is_shared)),
                history,
                Default::default(),
                now,
            ),
            clients: vec![
                Client::new("ann", false, true),
                Client::new("bob", false, true),
                Client::new("cat", false, false),
                Client::new("eve", true, true),
            ],
            nodes: vec![Node::default(), Node::default()],
            now,
            start: now,
            sockets: 0,
            log: Vec::new(),
            stored: Roster::default(),
            appends: VecDeque::new(),
            calls: Vec::new(),
            elsewhere: Vec::new(),
            has_store_failed: false,
            routed: Default::default(),
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        match step {
            Step::Join(who, node) => self.join(*who, None, *node),
            Step::Resume {
                who,
                knows_all,
                is_expired,
            } => self.resume(*who, *knows_all, *is_expired),
            Step::Drop(who) => self.drop_socket(*who),
            Step::Ask(who, ask) => self.ask(*who, ask),
            Step::Store(is_ok) => self.answer_append(*is_ok),
            Step::Reply(index, outcome) => self.reply(*index, *outcome),
            Step::Wait(ms) => self.wait(Duration::from_millis(*ms)),
            Step::NodeLost(node) => {
                self.nodes[*node].end();
                self.room.handle_node_lost(&node_id(*node), self.now);
            }
            Step::NodeSynced(node) => self.sync(*node),
            Step::SessionEvent(index, event) => self.session_event(*index, *event),
            Step::OtherServer(number) => self.other_server(*number),
            Step::Taken(who) => self.taken(*who),
        }
        self.drain();
    }

    /// Everything is answered, and nodes that were lost are back.
    pub(super) fn settle(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_down {
                self.sync(node);
                self.drain();
            }
        }
        let end = self.now + Duration::from_secs(8);
        while self.now < end || !self.calls.is_empty() || !self.appends.is_empty() {
            self.answer();
            self.wait(TICK);
            self.drain();
            assert!(
                self.now < end + Duration::from_secs(60),
                "it does not settle"
            );
        }
    }

    /// The store and the nodes answer everything.
    pub(super) fn answer(&mut self) {
        while !self.appends.is_empty() || !self.calls.is_empty() {
            self.answer_append(true);
            self.drain();
            self.reply(0, Outcome::Done);
            self.drain();
        }
    }

    /// All clients and the other server's participants leave.
    pub(super) fn end(&mut self) {
        for who in 0..self.clients.len() {
            self.play(&Step::Drop(who));
            for socket in std::mem::take(&mut self.clients[who].stale) {
                self.room.handle_socket_gone(socket, self.now);
            }
        }
        for participant in std::mem::take(&mut self.elsewhere) {
            self.close_elsewhere(&participant);
            self.store_event(left(&participant), None);
            self.drain();
        }
        self.settle();
        // What the store lost is found by the absence of participants.
        let absent: Vec<_> = self.stored.participants().cloned().collect();
        for participant in absent {
            self.room.handle_absent(&participant);
            self.drain();
        }
        self.settle();
    }

    pub(super) fn unix_s(&self) -> u64 {
        1_000 + (self.now - self.start).as_secs()
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        if self
            .room
            .poll_timeout(self.now)
            .is_some_and(|at| at <= self.now)
        {
            self.room.handle_timeout(self.now);
        }
    }

    /// Executes all outputs of the room.
    pub(super) fn drain(&mut self) {
        let (mut outputs, mut closed) = (0, Vec::new());
        while let Some(output) = self.room.poll_output() {
            outputs += 1;
            assert!(outputs <= MAX_OUTPUTS, "one input causes {outputs} outputs");
            match output {
                Output::Send { socket, notice } => self.send(socket, &notice),
                Output::Broadcast { notice } => {
                    for client in self
                        .clients
                        .iter_mut()
                        .filter(|client| client.present().is_some())
                    {
                        client.hear(&notice);
                    }
                }
                Output::SendPrivate {
                    sockets,
                    notice,
                    withheld,
                } => {
                    for client in self
                        .clients
                        .iter_mut()
                        .filter(|client| client.present().is_some())
                    {
                        let is_named = client
                            .socket
                            .is_some_and(|(socket, _)| sockets.contains(&socket));
                        client.hear(if is_named { &notice } else { &withheld });
                    }
                }
                Output::Close { socket, .. } => closed.push(socket),
                Output::Append { append, then } => self.appends.push_back((append, then)),
                Output::Publish { message } => self.message(message),
                Output::Call {
                    node,
                    session,
                    command,
                } => self.call(&node, session, command),
                Output::TakeLease { .. } => {}
                Output::RouteEvents {
                    participant,
                    here: true,
                } => _ = self.routed.0.insert(participant),
                Output::RouteEvents {
                    participant,
                    here: false,
                } => _ = self.routed.0.remove(&participant),
                Output::RouteLevels { track, here: true } => _ = self.routed.1.insert(track),
                Output::RouteLevels { track, here: false } => _ = self.routed.1.remove(&track),
            }
        }
        for socket in closed {
            for client in &mut self.clients {
                client.stale.retain(|open| *open != socket);
                client.socket = client.socket.filter(|(open, _)| *open != socket);
            }
            self.room.handle_socket_gone(socket, self.now);
        }
    }

    pub(super) fn send(&mut self, socket: SocketId, notice: &Notice) {
        let is_open = |client: &&mut Client| client.socket.is_some_and(|(open, _)| open == socket);
        if let Some(client) = self.clients.iter_mut().find(is_open) {
            client.hear(notice);
        }
    }

    pub(super) fn message(&mut self, message: Ephemeral) {
        self.room.handle_ephemeral(&Arc::new(message));
    }
}

pub(super) fn node_id(index: usize) -> NodeId {
    ["a", "b"][index].parse().expect("a name")
}
