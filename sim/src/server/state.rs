//! The state of a signaling server, and what it does when it has work.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use spillway_controlplane::hub::{Actor, Routes, Time as RoomTime};
use spillway_controlplane::ids::{NodeId, RoomName};
use spillway_controlplane::room::{NodeFactsById, RoomConfig, SocketId};
use spillway_wire::dataplane as proto;

use super::link::{LinkTasks, NodeLink};
use super::net::{Call, Net, StoreResult};
use super::room_task::{RoomTask, RoomTasks};
use super::socket::{FromServer, Socket};
use crate::clock::{START_UNIX_S, Time};
use crate::node::{CallId, NodeResult, StreamId};

/// A signaling server with its rooms.
pub struct Server {
    pub(super) config: Arc<RoomConfig>,
    pub(super) net: Rc<Net>,
    pub(super) rooms: BTreeMap<RoomName, RoomTask>,
    pub(super) tasks: RoomTasks,
    pub(super) routes: Routes,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) to_sockets: VecDeque<(SocketId, FromServer)>,
    pub(super) links: Vec<NodeLink>,
    pub(super) link_tasks: LinkTasks,
    /// Events that came while the state of their node was read.
    pub(super) early_events: Vec<(NodeId, StreamId, proto::event::Event)>,
    pub(super) next_stream: u64,
    pub(super) facts: NodeFactsById,
    /// Seconds by which the wall clock of the host is ahead.
    pub(super) ahead_s: i64,
    /// Something came in since the last run.
    pub(super) has_input: bool,
    /// Time of the next timer, after the last run.
    pub(super) next_at: Option<Time>,
}

impl Server {
    /// A server that connects to `nodes`. `streams` is above all numbers of streams that were used before.
    pub fn start(config: RoomConfig, nodes: &[NodeId], streams: u64, now: Time) -> Self {
        let net = Rc::new(Net::default());
        net.set_now(now);
        Self {
            config: Arc::new(config),
            net,
            rooms: BTreeMap::new(),
            tasks: RoomTasks::default(),
            routes: Routes::default(),
            sockets: BTreeMap::new(),
            to_sockets: VecDeque::new(),
            links: nodes
                .iter()
                .map(|node| NodeLink::new(node.clone(), now))
                .collect(),
            link_tasks: LinkTasks::default(),
            early_events: Vec::new(),
            next_stream: streams,
            facts: NodeFactsById::new(),
            ahead_s: 0,
            has_input: true,
            next_at: None,
        }
    }

    /// Sets the error of the host's wall clock.
    pub fn set_ahead(&mut self, seconds: i64) {
        self.ahead_s = seconds;
    }

    /// Sets the time of all that follows.
    pub fn set_now(&mut self, now: Time) {
        self.net.set_now(now);
    }

    /// Does everything that is due at the present time. False if nothing was.
    pub fn run(&mut self) -> bool {
        const MAX_ROUNDS: usize = 1_000;
        let is_due = self.next_at.is_some_and(|at| at <= self.net.now());
        if !std::mem::take(&mut self.has_input) && !is_due {
            return false;
        }
        for _ in 0..MAX_ROUNDS {
            let before = (self.tasks.len(), self.link_tasks.len());
            self.run_links();
            self.run_rooms();
            self.run_sockets();
            self.flush_sockets();
            if (self.tasks.len(), self.link_tasks.len()) == before {
                break;
            }
        }
        self.next_at = self.compute_next_at();
        true
    }

    /// Time at which the server has something to do.
    pub fn next_at(&self) -> Option<Time> {
        match self.has_input {
            true => Some(self.net.now()),
            false => self.next_at,
        }
    }

    fn compute_next_at(&mut self) -> Option<Time> {
        let now = self.net.now();
        let rooms = self.rooms.values_mut();
        let rooms = rooms.filter_map(|room| room.next_at(now)).min();
        let links = self.links.iter().filter_map(NodeLink::next_at).min();
        let all = [rooms, links, self.next_of_sockets(), self.net.next_at()];
        all.into_iter().flatten().min()
    }

    /// The next call to carry to the store or a node.
    pub fn poll_call(&mut self) -> Option<Call> {
        self.net.poll_call()
    }

    /// The next message to a client.
    pub fn poll_socket(&mut self) -> Option<(SocketId, FromServer)> {
        self.to_sockets.pop_front()
    }

    /// An update of the store waits for a reader.
    pub fn on_update(&mut self) {
        self.has_input = true;
    }

    /// Result of a call to the store.
    pub fn on_store_result(&mut self, id: CallId, result: StoreResult) {
        self.has_input = true;
        self.net.on_store_result(id, result);
    }

    /// Result of a call to a node.
    pub fn on_node_result(&mut self, id: CallId, result: NodeResult) {
        self.has_input = true;
        self.net.on_node_result(id, result);
    }

    /// Open rooms with their actors.
    pub fn rooms(&self) -> impl Iterator<Item = (&RoomName, &Actor)> {
        let rooms = self.rooms.iter();
        rooms.filter_map(|(name, room)| Some((name, room.actor()?)))
    }

    /// Number of rooms, also of those that are being opened.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// Number of sockets that are open.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Number of calls and timers that are not finished.
    pub fn open_tasks(&self) -> usize {
        self.tasks.len() + self.link_tasks.len() + self.net.open_calls()
    }

    /// Owner name of the server's lease.
    pub fn owner(&self) -> &str {
        &self.config.owner
    }

    pub(super) fn time(&self) -> RoomTime {
        let now = self.net.now();
        let unix_s = START_UNIX_S + now.since_start().as_secs();
        RoomTime {
            now: now.instant(),
            unix_s: unix_s.saturating_add_signed(self.ahead_s),
        }
    }

    /// The node for participants that join `room`: until placement is decided, all servers choose the same one of the connected
    /// nodes.
    pub(super) fn choose(&self, room: &RoomName) -> Option<NodeId> {
        let sum: usize = room.to_string().bytes().map(usize::from).sum();
        let connected: Vec<_> = self.links.iter().filter(|l| l.is_connected()).collect();
        let preferred = &self.links.get(sum % self.links.len().max(1))?;
        if preferred.is_connected() || connected.is_empty() {
            return Some(preferred.node.clone());
        }
        Some(connected[sum % connected.len()].node.clone())
    }
}
