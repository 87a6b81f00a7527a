//! Servers and nodes: they start, run, end and start again.

use std::net::SocketAddr;
use std::time::Duration;

use spillway_controlplane::config::SignalingLimits;
use spillway_controlplane::ids::NodeId;
use spillway_controlplane::room::RoomConfig;

use super::state::{NodeHost, ServerHost, World};
use crate::node::{CallId, Node, NodeCall, StreamItem};
use crate::pipes::Host;
use crate::server::{Call, Server};
use crate::store::{FromStore, ServerLife};

/// UDP port of the media of nodes.
const PORT: u16 = 7_882;
/// Time for which a participant stays without a socket.
pub(super) const GRACE: Duration = Duration::from_secs(15);

impl World {
    /// Starts all servers and nodes.
    pub(super) fn start_hosts(&mut self) -> anyhow::Result<()> {
        for number in 0..self.size.nodes {
            let name: NodeId = format!("node-{number}").parse()?;
            let addr = SocketAddr::from(([10, 0, 0, 1 + number as u8], PORT));
            self.nodes.push(NodeHost {
                name,
                addr,
                node: None,
                life: 0,
                started: self.clock.now(),
            });
            self.start_node(number)?;
        }
        for _ in 0..self.size.servers {
            self.servers.push(ServerHost {
                server: None,
                life: 0,
            });
            self.start_server(self.servers.len() - 1);
        }
        Ok(())
    }

    pub(super) fn start_node(&mut self, number: usize) -> anyhow::Result<()> {
        let (seed, now) = (self.seed, self.clock.now());
        let host = &mut self.nodes[number];
        host.life += 1;
        host.started = now;
        let shards = (self.size.shards, host.life);
        host.node = Some(Node::start(host.addr, shards, seed, now)?);
        self.set_inner_faults();
        Ok(())
    }

    pub(super) fn start_server(&mut self, number: usize) {
        let now = self.clock.now();
        let nodes: Vec<NodeId> = self.nodes.iter().map(|host| host.name.clone()).collect();
        let keys = std::sync::Arc::clone(&self.keys);
        let host = &mut self.servers[number];
        host.life += 1;
        let config = RoomConfig {
            keys,
            limits: SignalingLimits {
                participants: 100,
                tracks: 10,
                message_bytes: 512 * 1024,
                messages_per_second: 50,
                grace: GRACE,
                resume_allowance_s: 3_600,
                token_leeway_s: 60,
            },
            turn: None,
            is_shared: self.size.servers > 1,
            owner: format!("server-{number}-{}", host.life),
        };
        let streams = (number as u64 * 1_000 + u64::from(host.life)) * 1_000_000;
        host.server = Some(Server::start(config, &nodes, streams, now));
    }

    /// A server ends without a word.
    pub(super) fn kill_server(&mut self, number: usize) {
        let host = &mut self.servers[number];
        if host.server.take().is_none() {
            return;
        }
        self.store.end_server(ServerLife(number, host.life));
        self.break_host(Host::Server(number));
        self.in_flight.forget_server(number);
    }

    /// A node ends without a word.
    pub(super) fn kill_node(&mut self, number: usize) {
        if self.nodes[number].node.take().is_none() {
            return;
        }
        self.break_host(Host::Node(number));
        for server in 0..self.servers.len() {
            self.break_link(server, number);
        }
        let addr = self.nodes[number].addr;
        self.checks.node_ended(addr);
    }

    /// All connections of a host break.
    fn break_host(&mut self, host: Host) {
        self.pipes
            .break_if(|route| route.from == host || route.to == host);
        if let Host::Server(number) = host {
            for node in 0..self.nodes.len() {
                self.unwatch(number, node);
            }
            self.refuse_sockets_of(number);
        }
    }

    /// The connection between a server and a node breaks.
    pub(super) fn break_link(&mut self, server: usize, node: usize) {
        let pair = [Host::Server(server), Host::Node(node)];
        self.pipes
            .break_if(|route| pair.contains(&route.from) && pair.contains(&route.to));
        let calls = self.in_flight.take_calls(server, node);
        let name = self.nodes[node].name.clone();
        self.unwatch(server, node);
        let now = self.clock.now();
        let Some(state) = &mut self.servers[server].server else {
            return;
        };
        state.set_now(now);
        for call in calls {
            let said = "the connection broke".to_owned();
            let error = spillway_controlplane::fleet::NodeError::Unavailable(said);
            state.on_node_result(call, Err(error));
        }
        let streams: Vec<_> = state
            .streams()
            .filter(|(of, _)| **of == name)
            .map(|(_, stream)| stream)
            .collect();
        for stream in streams {
            state.on_broken(&name, stream);
        }
    }

    fn unwatch(&mut self, server: usize, node: usize) {
        let streams = self.in_flight.take_streams(server, node);
        if let Some(node) = &mut self.nodes[node].node {
            streams.into_iter().for_each(|stream| node.unwatch(stream));
        }
    }

    /// A cut that lasted too long breaks the connection.
    pub(super) fn break_if_cut(&mut self, server: usize, node: usize) {
        if self.pipes.is_cut(Host::Server(server), Host::Node(node)) {
            self.break_link(server, node);
        }
    }

    pub(super) fn run_nodes(&mut self) {
        let now = self.clock.now();
        for number in 0..self.nodes.len() {
            let mut violations = Vec::new();
            let host = &mut self.nodes[number];
            let Some(node) = &mut host.node else {
                continue;
            };
            let sent = match node.next_at() <= now {
                true => node.run(now, &mut violations),
                false => Vec::new(),
            };
            self.violations.append(&mut violations);
            for datagram in sent {
                self.sent_by_node(datagram);
            }
            while let Some(node) = &mut self.nodes[number].node
                && let Some((call, result)) = node.poll_reply()
            {
                self.node_replied(number, call, result);
            }
            while let Some(node) = &mut self.nodes[number].node
                && let Some((stream, item)) = node.poll_event()
            {
                self.node_told(number, stream, item);
            }
        }
    }

    pub(super) fn run_store(&mut self) {
        let now = self.clock.now();
        for (ServerLife(number, life), message) in self.store.run(now) {
            let host = &mut self.servers[number];
            let Some(server) = host.server.as_mut().filter(|_| host.life == life) else {
                continue;
            };
            server.set_now(now);
            match message {
                FromStore::Result(call, result) => {
                    server.on_store_result(call, result);
                }
                FromStore::Update => server.on_update(),
            }
        }
    }

    pub(super) fn run_servers(&mut self) {
        let now = self.clock.now();
        for number in 0..self.servers.len() {
            let Some(server) = &mut self.servers[number].server else {
                continue;
            };
            server.set_now(now);
            if !server.run() {
                continue;
            }
            let life = self.servers[number].life;
            while let Some(server) = &mut self.servers[number].server
                && let Some(call) = server.poll_call()
            {
                match call {
                    Call::Store(id, call) => {
                        self.note("store", || format!("server {number} calls {call:?}"));
                        self.store.call(ServerLife(number, life), id, call, now);
                    }
                    Call::Node(id, node, call) => self.call_node(number, id, &node, call),
                }
            }
            while let Some(server) = &mut self.servers[number].server
                && let Some((socket, message)) = server.poll_socket()
            {
                self.server_told(number, socket, message);
            }
        }
    }

    fn call_node(&mut self, server: usize, id: CallId, name: &NodeId, call: NodeCall) {
        let mut nodes = self.nodes.iter();
        if let Some(node) = nodes.position(|host| host.name == *name) {
            self.send_call(server, node, id, call);
        }
    }

    fn node_told(&mut self, node: usize, stream: crate::node::StreamId, item: StreamItem) {
        if let StreamItem::Ended = item {
            self.note("event", || format!("node {node} ended stream {}", stream.0));
        }
        self.send_event(node, stream, item);
    }
}
