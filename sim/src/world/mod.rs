//! A world: a node, people who publish and view, the network between them, faults, and the invariants.
//!
//! [`World::run`] takes events in the order of their time until the end. Everything that is sent and decided goes into the
//! hash.

mod draw; // faults of a seed
mod violation; // an invariant that does not hold
mod node; // a data plane: its shards and its control thread
mod person; // a participant: two sessions
mod witness; // invariants 1 to 3, on what a viewer is sent

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use spillway_wire::dataplane as proto;

use crate::clock::{Clock, START_UNIX_S, Time};
use crate::coverage::Coverage;
use crate::events::Events;
use crate::fault::{Fault, FaultKind};
use crate::hash::{RunDigest, RunHash};
use crate::network::{Bursts, Conditions, Counts, Datagram, Direction, Network, Rate};
use crate::rng::{Chance, Seed};
use crate::schedule::Schedule;
pub use draw::{POSSIBLE, draw};
use node::{Node, Reply};
use person::Person;
pub use violation::Violation;

/// Size of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of shards of the node.
    pub shards: u16,
    /// Number of people.
    pub people: u32,
    /// How many of them publish.
    pub publishers: u32,
    /// Time from start to end.
    pub lasts: Duration,
}

/// Result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Hash of everything that was sent and decided.
    pub digest: RunDigest,
    /// Invariants that did not hold, in order of time; empty if all is well.
    pub violations: Vec<Violation>,
    /// What the network did.
    pub network: Counts,
    /// Which fault met which state.
    pub coverage: Coverage,
    /// Number of frames that viewers decoded, of all together.
    pub frames: u64,
}

/// A world that runs.
pub struct World {
    size: Size,
    clock: Clock,
    network: Network,
    node: Node,
    people: Vec<Person>,
    /// Person and session of each address: 0 publishes, 1 views.
    session_by_addr: BTreeMap<SocketAddr, (usize, usize)>,
    changes: Events<Change>,
    active: Vec<Fault>,
    hash: RunHash,
    coverage: Coverage,
    violations: Vec<Violation>,
}

/// Something that the world does at a certain time.
#[derive(Debug, Clone, Copy)]
enum Change {
    Joins(usize),
    Begins(Fault),
    Ends(Fault),
}

/// Path of all clients without faults.
const USUAL: Conditions = Conditions::steady(Duration::from_millis(15));
/// Steps at one time after which the world does not come to rest.
const MAX_STEPS: u32 = 1_000;
/// Violations after which a run ends.
const MAX_VIOLATIONS: usize = 16;
/// Address of the node.
const NODE: ([u8; 4], u16) = ([10, 0, 0, 1], 7_882);

impl World {
    /// A world with the faults in `schedule`.
    pub fn new(seed: Seed, size: Size, schedule: &Schedule) -> anyhow::Result<Self> {
        // The second call in a process changes nothing: all runs have the same start.
        let wall = UNIX_EPOCH + Duration::from_secs(START_UNIX_S);
        str0m::set_time_origin(Time::ZERO.instant(), wall);
        // The session library draws from the generator of the thread.
        fastrand::seed(seed.number("session library"));
        let node = Node::start(SocketAddr::from(NODE), size.shards, seed, Time::ZERO)?;
        let mut changes = Events::default();
        let mut rng = seed.stream("joins");
        for person in 0..size.people as usize {
            changes.add(Time::from_ms(rng.below(2_000)), Change::Joins(person));
        }
        for fault in schedule.faults() {
            changes.add(fault.at, Change::Begins(*fault));
            changes.add(fault.ends_at(), Change::Ends(*fault));
        }
        let people = 0..size.people;
        Ok(Self {
            size,
            clock: Clock::default(),
            network: Network::new(seed, USUAL),
            node,
            people: people
                .map(|number| Person::new(number, number < size.publishers, seed))
                .collect(),
            session_by_addr: BTreeMap::new(),
            changes,
            active: Vec::new(),
            hash: RunHash::default(),
            coverage: Coverage::default(),
            violations: Vec::new(),
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        let end = Time::ZERO + self.size.lasts;
        for person in 0..self.people.len() {
            self.name_addresses(person);
        }
        let mut steps = 0;
        while self.violations.len() < MAX_VIOLATIONS {
            self.step();
            let (now, next) = (self.clock.now(), self.next_at());
            if next > end {
                break;
            }
            steps = if next > now { 0 } else { steps + 1 };
            if steps > MAX_STEPS {
                self.violations.push(Violation {
                    at: now,
                    invariant: 9,
                    seen: format!("{MAX_STEPS} steps without time passing"),
                });
                break;
            }
            self.clock.advance(next.max(now));
        }
        self.check_network();
        Outcome {
            digest: self.hash.digest(),
            violations: self.violations,
            network: self.network.counts().clone(),
            coverage: self.coverage,
            frames: self.people.iter().map(Person::frames).sum(),
        }
    }

    /// Everything that happens at the present time.
    fn step(&mut self) {
        let now = self.clock.now();
        while let Some(change) = self.changes.take_due(now) {
            self.change(change, now);
        }
        while let Some(datagram) = self.network.receive(now) {
            self.deliver(datagram, now);
        }
        for person in &mut self.people {
            person.handle_timeouts(now);
        }
        for datagram in self.node.run(now, &mut self.violations) {
            self.sent_by_node(datagram, now);
        }
        while let Some(event) = self.node.poll_event(&mut self.violations, now) {
            self.on_event(event, now);
        }
        while let Some(reply) = self.node.poll_reply() {
            self.on_reply(reply, now);
        }
        self.send_of_people(now);
    }

    fn next_at(&self) -> Time {
        let people = self.people.iter().filter_map(Person::deadline);
        let others = [self.changes.next_at(), self.network.next_at()];
        let others = others.into_iter().flatten();
        people.chain(others).fold(self.node.next_at(), Time::min)
    }

    fn change(&mut self, change: Change, now: Time) {
        match change {
            Change::Joins(person) => self.join(person, now),
            Change::Begins(fault) => {
                self.hash
                    .record(now, "fault", &[fault.to_string().as_bytes()]);
                self.active.push(fault);
                self.apply(fault, now);
            }
            Change::Ends(fault) => {
                self.active.retain(|active| *active != fault);
                self.apply(fault, now);
            }
        }
    }

    /// Applies all active faults of the target of `fault`, which has just begun or ended.
    fn apply(&mut self, fault: Fault, now: Time) {
        match fault.kind {
            FaultKind::Roam => {
                if self.active.contains(&fault) {
                    self.meet(fault, now);
                    self.roam(fault.target, now);
                }
            }
            FaultKind::FullSocket | FaultKind::StalledShard | FaultKind::LateTimers => {
                let active: Vec<Fault> = self.active_of(|kind| {
                    use FaultKind::{FullSocket, LateTimers, StalledShard};
                    matches!(kind, FullSocket | StalledShard | LateTimers)
                });
                self.node.set_faults(&active);
                self.meet(fault, now);
            }
            _ => {
                self.meet(fault, now);
                self.set_path(fault.target);
            }
        }
    }

    fn active_of(&self, is_wanted: impl Fn(FaultKind) -> bool) -> Vec<Fault> {
        let active = self.active.iter().copied();
        active.filter(|fault| is_wanted(fault.kind)).collect()
    }

    /// Sets the conditions of a client's paths from the active faults.
    fn set_path(&mut self, target: u32) {
        let count = self.people.len() as u32;
        let Some(person) = self.people.get((target % count.max(1)) as usize) else {
            return;
        };
        let mut conditions = USUAL;
        let mut is_cut = false;
        for fault in self
            .active
            .iter()
            .filter(|f| f.target % count == target % count)
        {
            let amount = fault.amount;
            let ms = Duration::from_millis(u64::from(amount));
            match fault.kind {
                FaultKind::Delay => conditions.delay += ms,
                FaultKind::Jitter => conditions.jitter = ms,
                FaultKind::Loss => conditions.loss = Chance::per_mille(amount),
                FaultKind::LossBurst => {
                    conditions.bursts = Some(Bursts {
                        begins: Chance::per_mille(5),
                        ends: Chance::one_in(amount),
                    });
                }
                FaultKind::Reorder => {
                    conditions.reordered = Chance::per_mille(amount);
                    conditions.late = Duration::from_millis(30);
                }
                FaultKind::Duplicate => {
                    conditions.duplicated = Chance::per_mille(amount);
                    conditions.late = Duration::from_millis(30);
                }
                FaultKind::Rate => {
                    conditions.rate = Some(Rate {
                        bits_per_s: u64::from(amount) * 1_000,
                        queue_bytes: 32_000,
                    });
                }
                FaultKind::Cut => is_cut = true,
                _ => {}
            }
        }
        let node = self.node.addr().ip();
        for session in &person.sessions {
            let client = session.transport.local().ip();
            for (from, to) in [(node, client), (client, node)] {
                let direction = Direction { from, to };
                self.network.set_conditions(direction, Some(conditions));
                match is_cut {
                    true => self.network.cut(direction),
                    false => self.network.heal(direction),
                }
            }
        }
    }

    fn meet(&mut self, fault: Fault, now: Time) {
        for person in &self.people {
            for state in person.states(now) {
                self.coverage.meet(fault.kind, state);
            }
        }
    }

    fn join(&mut self, index: usize, now: Time) {
        let person = &mut self.people[index];
        person.has_joined = true;
        let (publish, view) = (&person.sessions[0], &person.sessions[1]);
        if let Some(offer) = publish.offer().filter(|_| person.publishes) {
            self.node
                .publish(index, &publish.id, offer, person.tracks(), now);
        }
        self.node.subscribe(index, &view.id, now);
        self.refresh_subscriptions(now);
    }

    /// Asks for all tracks of all others, for each person that has joined.
    fn refresh_subscriptions(&mut self, now: Time) {
        let published: Vec<(u32, proto::Track)> = self
            .people
            .iter()
            .filter(|person| person.has_joined && person.publishes)
            .flat_map(|person| {
                person
                    .tracks()
                    .into_iter()
                    .map(|track| (person.number, track))
            })
            .collect();
        for (index, person) in self.people.iter_mut().enumerate() {
            if !person.has_joined {
                continue;
            }
            let number = person.number;
            let others = published.iter().filter(|(of, _)| *of != number);
            let new: Vec<proto::Track> = others
                .filter(|(_, track)| person.want(&track.track))
                .map(|(_, track)| track.clone())
                .collect();
            if !new.is_empty() {
                let session = &person.sessions[1].id;
                self.node.put_subscriptions(index, session, &new, now);
            }
        }
    }

    fn roam(&mut self, target: u32, now: Time) {
        let index = target as usize % self.people.len().max(1);
        let Some(person) = self.people.get_mut(index) else {
            return;
        };
        person.roam(now);
        self.name_addresses(index);
        self.set_path(target);
    }

    fn name_addresses(&mut self, index: usize) {
        for (place, session) in self.people[index].sessions.iter().enumerate() {
            let addr = session.transport.local();
            self.session_by_addr.insert(addr, (index, place));
        }
    }

    fn deliver(&mut self, datagram: Datagram, now: Time) {
        if datagram.to == self.node.addr() {
            self.node.arrive(datagram);
            return;
        }
        let Some((person, place)) = self.session_by_addr.get(&datagram.to).copied() else {
            return;
        };
        let session = &mut self.people[person].sessions[place];
        // Nobody listens at an address that was left.
        if session.transport.local() == datagram.to {
            session.receive(&datagram.bytes, now);
        }
    }

    fn sent_by_node(&mut self, datagram: Datagram, now: Time) {
        let to = datagram.to.to_string();
        self.hash
            .record(now, "node", &[to.as_bytes(), &datagram.bytes]);
        if let Some((person, 1)) = self.session_by_addr.get(&datagram.to).copied() {
            let seen = self.people[person].witness(&datagram.bytes);
            let violations = seen.into_iter().map(|(invariant, seen)| Violation {
                at: now,
                invariant,
                seen: format!("person {person}: {seen}"),
            });
            self.violations.extend(violations);
        }
        self.network.send(datagram, now);
    }

    fn send_of_people(&mut self, now: Time) {
        for person in &mut self.people {
            for session in &mut person.sessions {
                while let Some(datagram) = session.poll() {
                    let from = datagram.from.to_string();
                    self.hash
                        .record(now, "client", &[from.as_bytes(), &datagram.bytes]);
                    self.network.send(datagram, now);
                }
            }
        }
    }

    fn on_event(&mut self, event: proto::event::Event, now: Time) {
        self.hash
            .record(now, "event", &[format!("{event:?}").as_bytes()]);
        if let proto::event::Event::Offer(offer) = event {
            let of = |person: &Person| person.sessions[1].id == offer.session;
            if let Some(index) = self.people.iter().position(of) {
                let answer = self.people[index].sessions[1].offered(&offer.sdp, now);
                self.node
                    .answer(index, &offer.session, offer.revision, answer, now);
            }
        }
    }

    fn on_reply(&mut self, reply: Reply, now: Time) {
        let text = format!("{} {:?}", reply.person, reply.result);
        self.hash.record(now, "reply", &[text.as_bytes()]);
        match reply.result {
            Ok(Some(answer)) => self.people[reply.person].sessions[0].answered(&answer, now),
            Ok(None) => {}
            // Without faults of the control plane no request may fail.
            Err(error) => self.violations.push(Violation {
                at: now,
                invariant: 7,
                seen: format!("person {}: {error}", reply.person),
            }),
        }
    }

    /// Invariant 4, for the network itself.
    fn check_network(&mut self) {
        let counted = self.network.counts().flying();
        let flying = self.network.flying() as u64;
        if counted != flying {
            self.violations.push(Violation {
                at: self.clock.now(),
                invariant: 4,
                seen: format!(
                    "the network counts {counted} datagrams on the way, and has {flying}"
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests;
