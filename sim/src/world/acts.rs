//! What people do, and faults that begin and end.

use std::time::Duration;

use serde_json::json;
use spillway_controlplane::room::SocketId;

use super::message::Message;
use super::paths::{drain_time, is_of_path};
use super::person::Link;
use super::state::{Change, World};
use crate::client::signaling::Heard;
use crate::clock::Time;
use crate::fault::{Fault, FaultKind};
use crate::pipes::Host;

/// Time after which a cut connection between a server and a node breaks: keepalive of gRPC.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Place in each room of the person who stays longest.
const KEEPER: usize = 11;
/// Time for which this person stays after the others.
const KEEPER_STAYS: Duration = Duration::from_secs(55);
/// Pauses before a client connects again, the longest.
const RETRY_MS: u64 = 1_000;

impl World {
    /// A person comes to the room.
    pub(super) fn enter(&mut self, index: usize) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if person.wants_in {
            return;
        }
        person.wants_in = true;
        person.moments.entered = now;
        for mid in 0..person.lines.len() {
            person.lines[mid].is_offered = person.publishes;
            person.lines[mid].is_muted = false;
        }
        if let Link::Closed { .. } = person.link {
            person.link = Link::Closed { retry_at: now };
        }
    }

    /// A person leaves the room.
    pub(super) fn leave(&mut self, index: usize) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if !person.wants_in {
            return;
        }
        person.wants_in = false;
        person.moments.left = Some(now);
        person.moments.joined = None;
        if person.signaling.is_joined {
            person.signaling.request("leave", json!({}));
        } else if let Link::Open { server, socket, .. } = person.link {
            self.close_socket(index, server, socket);
        }
        self.checks.frames += self.people[index].sink().map_or(0, |sink| sink.frames());
        let person = &mut self.people[index];
        for session in person.sessions_mut() {
            session.transport.close();
        }
        self.send_of_people();
        self.people[index].discard_sessions();
    }

    /// The client drops its connection.
    fn close_socket(&mut self, index: usize, server: usize, socket: SocketId) {
        self.send_to_server(index, server, socket.0, Message::Gone);
        self.disconnected(index, 1_006);
    }

    /// Timers of people, and connections that are opened.
    pub(super) fn run_people(&mut self) {
        let now = self.clock.now();
        for index in 0..self.people.len() {
            let person = &mut self.people[index];
            person.handle_timeouts(now);
            match person.link {
                Link::Closed { retry_at } if person.wants_in && retry_at <= now => {
                    self.connect(index);
                }
                Link::Open { server, socket, .. } if person.is_cut_off(now) => {
                    self.close_socket(index, server, socket);
                }
                Link::Closed { .. } | Link::Open { .. } => {}
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let now = self.clock.now();
        let count = self.servers.len() as u64;
        let person = &mut self.people[index];
        let server = person.rng.below(count) as usize;
        self.next_socket += 1;
        let socket = SocketId(self.next_socket);
        person.link = Link::Open {
            server,
            socket,
            heard_at: now,
        };
        let (token, may_view) = (person.token.clone(), person.may_view);
        person.signaling.join(&token, may_view);
        self.send_to_server(index, server, socket.0, Message::Open);
    }

    /// The connection of a person's socket is gone.
    pub(super) fn disconnected(&mut self, index: usize, code: u64) {
        let now = self.clock.now();
        self.note("closed", || format!("socket of person {index}: {code}"));
        let person = &mut self.people[index];
        let pause = Duration::from_millis(person.rng.between(50, RETRY_MS));
        person.link = Link::Closed {
            retry_at: now + pause,
        };
        person.signaling.disconnected();
        // Codes after which the client must not come back as the same participant.
        if matches!(code, 1_000 | 4_400 | 4_401 | 4_409) {
            person.signaling.forget();
            person.discard_sessions();
        }
        if !person.wants_in {
            person.signaling.forget();
        }
    }

    /// A person hears a text of a server.
    pub(super) fn hear(&mut self, index: usize, text: &str) {
        let now = self.clock.now();
        for heard in self.people[index].receive_text(text, now) {
            match heard {
                Heard::Wrong(what) => self.violate(5, format!("person {index}: {what}")),
                Heard::Joined(_) => {
                    self.set_paths(index);
                    self.push_wishes(index);
                    if !self.people[index].wants_in {
                        let person = &mut self.people[index];
                        person.signaling.request("leave", json!({}));
                    }
                }
                Heard::Left(participant, reason) => self.saw_leave(index, &participant, &reason),
                Heard::Refused(kind, code) => self.saw_refusal(index, kind, &code),
                Heard::Media { is_lost, reason } => {
                    self.set_paths(index);
                    if is_lost {
                        self.saw_loss(index, &reason);
                    }
                }
                Heard::Message(topic) => {
                    let own = format!("to-person-{index}");
                    if topic.starts_with("to-") && topic != own {
                        let said = format!("person {index} hears a message that was sent {topic}");
                        self.violate(3, said);
                    }
                }
                Heard::Answer(..) | Heard::Offer(..) | Heard::Ok(_) | Heard::Closing(..) => {}
            }
        }
    }

    /// Asks again for what the person does not want, because a new stay begins with everything.
    fn push_wishes(&mut self, index: usize) {
        let person = &mut self.people[index];
        person.moments.wanted = self.clock.now();
        let touched = std::mem::take(&mut person.touched);
        let known: Vec<&String> = person
            .signaling
            .roster
            .participants
            .values()
            .flat_map(|participant| participant.tracks.keys())
            .collect();
        let tracks: Vec<String> = touched.into_iter().filter(|t| known.contains(&t)).collect();
        for track in tracks {
            person.wish(track);
        }
    }

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

    fn roam(&mut self, index: usize) {
        let now = self.clock.now();
        self.people[index].roam(now);
        self.set_paths(index);
    }

    /// The socket of a person breaks. The server notices after `late_ms`.
    fn cut_socket(&mut self, index: usize, late_ms: u32) {
        let now = self.clock.now();
        if let Link::Open { server, socket, .. } = self.people[index].link {
            let channel = socket.0;
            self.pipes.break_if(|route| {
                let hosts = [Host::Person(index), Host::Server(server)];
                let is_between = hosts.contains(&route.from) && hosts.contains(&route.to);
                is_between && route.channel == channel
            });
            self.disconnected(index, 1_006);
            let at = now + Duration::from_millis(u64::from(late_ms));
            self.changes.add(at, Change::SocketGone(server, channel));
        }
    }

    pub(super) fn lose_socket(&mut self, server: usize, socket: u64) {
        let now = self.clock.now();
        if let Some(state) = &mut self.servers[server].server {
            state.set_now(now);
            state.lose_socket(SocketId(socket));
        }
    }

    /// A person does something, or ends it.
    fn act(&mut self, index: usize, fault: Fault, begins: bool) {
        let now = self.clock.now();
        let amount = fault.amount as usize;
        match fault.kind {
            FaultKind::Leave if begins => self.leave(index),
            FaultKind::Leave => self.enter(index),
            FaultKind::Mute if self.people[index].publishes => {
                self.people[index].mute(amount % 2, begins, now);
            }
            FaultKind::Unpublish if self.people[index].publishes => {
                self.people[index].set_offered(amount % 2, !begins, now);
            }
            FaultKind::Sleep => {
                if let Some(sink) = self.people[index].sink_mut() {
                    sink.is_asleep = begins;
                }
            }
            FaultKind::Message if begins => self.talk(index, amount),
            FaultKind::HangUp if begins => self.hang_up(index),
            FaultKind::Unsubscribe | FaultKind::Pause | FaultKind::Narrow => {
                self.wish(index, fault, begins);
            }
            _ => {}
        }
    }

    /// The peer connections of a person end. It waits for the server to ask for new ones.
    fn hang_up(&mut self, index: usize) {
        // A close that is lost, or that has no keys yet, is noticed only after a minute of silence.
        let count = self.people.len();
        let is_faulty = self.active.iter().any(|fault| {
            let is_own = fault.target as usize % count == index;
            !fault.kind.is_of_person() || is_own && is_of_path(fault.kind)
        });
        let mut sessions = self.people[index].sessions();
        let is_connected = sessions.all(|session| session.transport.is_connected());
        drop(sessions);
        if is_faulty || !is_connected {
            return;
        }
        for session in self.people[index].sessions_mut() {
            session.transport.close();
        }
        self.send_of_people();
        self.checks.frames += self.people[index].sink().map_or(0, |sink| sink.frames());
        self.people[index].discard_sessions();
    }

    /// A person changes what it wants to get of one track.
    fn wish(&mut self, index: usize, fault: Fault, begins: bool) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if !person.may_view {
            return;
        }
        let own = person
            .signaling
            .stay
            .as_ref()
            .map(|stay| stay.participant.clone());
        let known = person.signaling.roster.participants.iter();
        let others = known.filter(|(id, _)| Some(*id) != own.as_ref());
        let tracks: Vec<String> = others
            .flat_map(|(_, participant)| participant.tracks.keys().cloned())
            .collect();
        let set = match fault.kind {
            FaultKind::Unsubscribe => &mut person.refused,
            FaultKind::Pause => &mut person.paused,
            _ => &mut person.narrowed,
        };
        let chosen: Vec<String> = match begins {
            true => {
                let place = fault.amount as usize % tracks.len().max(1);
                let chosen: Vec<_> = tracks.get(place).cloned().into_iter().collect();
                set.extend(chosen.iter().cloned());
                chosen
            }
            // Everything is wanted again.
            false => std::mem::take(set).into_iter().collect(),
        };
        person.moments.wanted = now;
        person.touched.extend(chosen.iter().cloned());
        if !person.signaling.is_joined {
            return;
        }
        for track in chosen {
            person.wish(track);
        }
    }

    /// A person sends messages, some to one other person only.
    fn talk(&mut self, index: usize, count: usize) {
        let person = &mut self.people[index];
        if !person.signaling.is_joined {
            return;
        }
        let mates: Vec<String> = person
            .signaling
            .roster
            .participants
            .values()
            .map(|mate| mate.identity.clone())
            .collect();
        for number in 0..count {
            let topic = format!("from-{index}");
            let mut message =
                json!({"topic": topic, "payload": number, "ephemeral": number % 3 == 2});
            if number % 3 == 1
                && let Some(mate) = person.rng.one_of(&mates)
            {
                message["to"] = json!([mate]);
                message["topic"] = json!(format!("to-{mate}"));
            }
            person.signaling.request("message", message);
        }
    }

    /// Everybody leaves. One in each room stays for a while, because only a server with the room removes participants of dead
    /// servers.
    pub(super) fn empty(&mut self) {
        let now = self.clock.now();
        for person in 0..self.people.len() {
            if person % self.size.people_per_room == KEEPER {
                self.enter(person);
                self.changes.add(now + KEEPER_STAYS, Change::Goes(person));
            } else {
                self.leave(person);
            }
        }
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
        let of = |times: &std::collections::BTreeMap<usize, Time>, host: Option<usize>| {
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
