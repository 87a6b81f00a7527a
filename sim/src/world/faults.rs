//! Faults begin and end, meet states, and leave people in calm.

use std::collections::BTreeMap;
use std::time::Duration;

use super::paths::{drain_time, is_of_path};
use super::person::Link;
use super::state::{Change, World};
use crate::clock::Time;
use crate::fault::{Fault, FaultKind};
use crate::pipes::Host;

/// Time after which a cut connection between a server and a node breaks: keepalive of gRPC.
const KEEPALIVE: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
        self.note("fault", || format!("begins: {fault}"));
        self.active.push(fault);
        self.meet(fault);
        let now = self.clock.now();
        let person = fault.target as usize % self.people.len();
        let server = fault.target as usize % self.servers.len();
        let node = fault.target as usize % self.nodes.len();
        match fault.kind {
            kind if is_of_path(kind) => self.set_paths(person),
            FaultKind::Roam => self.roam(person),
            FaultKind::FullSocket | FaultKind::StalledShard | FaultKind::LateTimers => {
                self.set_inner_faults();
            }
            FaultKind::DeadNode => self.kill_node(node),
            FaultKind::DeadServer => self.kill_server(server),
            FaultKind::Partition => {
                let other = fault.amount as usize % self.nodes.len();
                self.pipes.cut(Host::Server(server), Host::Node(other));
                self.changes
                    .add(now + KEEPALIVE, Change::Breaks(server, other));
            }
            FaultKind::SocketCut => self.cut_socket(person, fault.amount),
            FaultKind::StoreAway => self.store.faults.is_away = true,
            FaultKind::StoreDemoted => self.store.faults.is_demoted = true,
            FaultKind::StoreSlow => {
                self.store.faults.slow = Duration::from_millis(u64::from(fault.amount));
            }
            FaultKind::WrongClock => {
                if let Some(state) = &mut self.servers[server].server {
                    state.set_ahead(i64::from(fault.amount) - 25);
                }
            }
            FaultKind::Misbehave => {
                let people = 0..self.people.len();
                let bad: Vec<_> = people.filter(|one| self.people[*one].misbehaves).collect();
                if let Some(one) = bad.get(fault.target as usize % bad.len().max(1)) {
                    self.misbehave(*one, fault.amount);
                }
            }
            _ => self.act(person, fault, true),
        }
    }

    pub(super) fn end(&mut self, fault: Fault) {
        let now = self.clock.now();
        self.note("fault", || format!("ends: {fault}"));
        self.meet(fault);
        self.active.retain(|active| *active != fault);
        let person = fault.target as usize % self.people.len();
        let server = fault.target as usize % self.servers.len();
        let node = fault.target as usize % self.nodes.len();
        let is_active = |kind| self.active.iter().any(|active| active.kind == kind);
        match fault.kind {
            kind if is_of_path(kind) => self.set_paths(person),
            FaultKind::FullSocket | FaultKind::StalledShard | FaultKind::LateTimers => {
                self.set_inner_faults();
            }
            FaultKind::DeadNode => {
                if self.nodes[node].node.is_none()
                    && let Err(error) = self.start_node(node)
                {
                    self.violate(9, format!("a node cannot start: {error}"));
                }
                self.last_calm.nodes.insert(node, now);
            }
            FaultKind::DeadServer => {
                if self.servers[server].server.is_none() {
                    self.start_server(server);
                }
                self.last_calm.servers.insert(server, now);
            }
            FaultKind::Partition => {
                let other = fault.amount as usize % self.nodes.len();
                self.pipes
                    .heal(Host::Server(server), Host::Node(other), now);
                self.last_calm.servers.insert(server, now);
            }
            FaultKind::StoreAway => self.store.faults.is_away = is_active(fault.kind),
            FaultKind::StoreDemoted => self.store.faults.is_demoted = is_active(fault.kind),
            FaultKind::StoreSlow => self.store.faults.slow = Duration::ZERO,
            FaultKind::WrongClock => {
                if let Some(state) = &mut self.servers[server].server {
                    state.set_ahead(0);
                }
            }
            FaultKind::Roam | FaultKind::SocketCut | FaultKind::Misbehave => {}
            _ => self.act(person, fault, false),
        }
        match fault.kind {
            FaultKind::FullSocket | FaultKind::StalledShard | FaultKind::LateTimers => {
                let (node, _) = self.shard_of(fault);
                self.last_calm.nodes.insert(node, now);
            }
            FaultKind::StoreAway | FaultKind::StoreDemoted | FaultKind::StoreSlow => {
                self.last_calm.store = now;
            }
            FaultKind::Rate => self.people[person].moments.calm = now + drain_time(fault.amount),
            _ => self.people[person].moments.calm = now,
        }
    }

    /// Node and shard of a fault inside a node.
    pub(super) fn shard_of(&self, fault: Fault) -> (usize, usize) {
        let shards = usize::from(self.size.shards);
        let number = fault.target as usize % (self.nodes.len() * shards);
        (number / shards, number % shards)
    }

    /// Sets the faults inside all nodes.
    pub(super) fn set_inner_faults(&mut self) {
        for number in 0..self.nodes.len() {
            let mut own = Vec::new();
            for fault in &self.active {
                let (node, shard) = self.shard_of(*fault);
                if node == number {
                    own.push(Fault {
                        target: shard as u32,
                        ..*fault
                    });
                }
            }
            if let Some(node) = &mut self.nodes[number].node {
                node.set_faults(&own);
            }
        }
    }

    /// Counts which states `fault` meets.
    pub(super) fn meet(&mut self, fault: Fault) {
        let now = self.clock.now();
        let target = fault.target as usize % self.people.len();
        let is_personal = fault.kind.is_of_person();
        for (index, person) in self.people.iter().enumerate() {
            if is_personal && index != target {
                continue;
            }
            for state in person.states(now) {
                self.coverage.meet(fault.kind, state);
            }
        }
    }

    pub(super) fn roam(&mut self, index: usize) {
        let now = self.clock.now();
        self.people[index].roam(now);
        self.set_paths(index);
    }

    /// End of the last fault that touched a person on `node`; `None` while one lasts.
    pub(super) fn calm_since(&self, person: usize, node: Option<usize>) -> Option<Time> {
        let state = &self.people[person];
        let server = match state.link {
            Link::Open { server, .. } => Some(server),
            Link::Closed { .. } => None,
        };
        for fault in &self.active {
            let target = fault.target as usize;
            let touches = match fault.kind {
                FaultKind::StoreAway | FaultKind::StoreSlow | FaultKind::StoreDemoted => true,
                FaultKind::FullSocket | FaultKind::StalledShard | FaultKind::LateTimers => {
                    Some(self.shard_of(*fault).0) == node
                }
                FaultKind::DeadNode => Some(target % self.nodes.len()) == node,
                FaultKind::DeadServer | FaultKind::Partition | FaultKind::WrongClock => {
                    Some(target % self.servers.len()) == server
                }
                _ => target % self.people.len() == person,
            };
            if touches {
                return None;
            }
        }
        let of = |times: &BTreeMap<usize, Time>, host: Option<usize>| {
            let time = host.and_then(|host| times.get(&host).copied());
            time.unwrap_or(Time::ZERO)
        };
        let times = [
            state.moments.calm,
            self.last_calm.store,
            of(&self.last_calm.nodes, node),
            of(&self.last_calm.servers, server),
        ];
        times.into_iter().max()
    }
}
