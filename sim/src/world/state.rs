//! The state of a world, and the order of what happens in it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use spillway_controlplane::auth::Keys;
use spillway_controlplane::ids::NodeId;

use super::check::{Checks, INTERVAL};
use super::message::{InFlight, Message};
use super::person::{Person, TrackNames};
use super::size::{self, Size};
use crate::clock::{Clock, START_UNIX_S, Time, thread_now};
use crate::coverage::Coverage;
use crate::events::Events;
use crate::fault::Fault;
use crate::hash::{RunDigest, RunHash};
use crate::network::{Counts, Network};
use crate::node::Node;
use crate::pipes::Pipes;
use crate::rng::Seed;
use crate::schedule::Schedule;
use crate::server::Server;
use crate::store::StoreHost;
use crate::violation::Violation;

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
    /// Lines of the log, if it was wanted.
    pub log: Vec<String>,
}

/// A world that runs.
pub struct World {
    pub(super) size: Size,
    pub(super) seed: Seed,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) pipes: Pipes<Message>,
    pub(super) nodes: Vec<NodeHost>,
    pub(super) servers: Vec<ServerHost>,
    pub(super) store: StoreHost,
    pub(super) people: Vec<Person>,
    pub(super) keys: Arc<Keys>,
    /// Person and session of each address: 0 publishes, 1 views.
    pub(super) session_by_addr: BTreeMap<SocketAddr, (usize, usize)>,
    pub(super) track_names: TrackNames,
    pub(super) in_flight: InFlight,
    pub(super) next_socket: u64,
    pub(super) changes: Events<Change>,
    pub(super) active: Vec<Fault>,
    pub(super) last_calm: LastCalm,
    pub(super) hash: RunHash,
    pub(super) coverage: Coverage,
    pub(super) checks: Checks,
    pub(super) violations: Vec<Violation>,
    pub(super) log: Option<VecDeque<String>>,
}

/// A place for a node. The node may be down.
pub(super) struct NodeHost {
    pub(super) name: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) node: Option<Node>,
    /// How often the node started.
    pub(super) life: u32,
    /// Time of the latest start.
    pub(super) started: Time,
}

/// A place for a server. The server may be down.
pub(super) struct ServerHost {
    pub(super) server: Option<Server>,
    /// How often the server started.
    pub(super) life: u32,
}

/// End of the last fault of each host.
#[derive(Default)]
pub(super) struct LastCalm {
    pub(super) nodes: BTreeMap<usize, Time>,
    pub(super) servers: BTreeMap<usize, Time>,
    pub(super) store: Time,
}

/// Something that the world does at a certain time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Enters(usize),
    Begins(Fault),
    Ends(Fault),
    /// Connections between a server and a node that were cut for too long break.
    Breaks(usize, usize),
    /// The server notices that a socket is gone.
    SocketGone(usize, u64),
    /// The invariants are looked at.
    Looks,
    /// Everybody leaves, but one in each room.
    Empties,
    /// A person leaves for good.
    Goes(usize),
}

/// Steps at one time after which the world does not come to rest.
const MAX_STEPS: u32 = 1_000;
/// Violations after which a run ends.
const MAX_VIOLATIONS: usize = 16;
/// Lines of the log that are kept.
const MAX_LOG: usize = 400_000;

impl World {
    /// A world with the faults in `schedule`.
    ///
    /// # Errors
    ///
    /// A node cannot be started: the process has no descriptors left.
    pub fn new(seed: Seed, size: Size, schedule: &Schedule) -> anyhow::Result<Self> {
        // The second call in a process changes nothing: all runs have the same start.
        let wall = UNIX_EPOCH + std::time::Duration::from_secs(START_UNIX_S);
        str0m::set_time_origin(Time::ZERO.instant(), wall);
        // Libraries draw from the generators of the thread.
        fastrand::seed(seed.number("session library"));
        spillway_controlplane::entropy::seed_thread(seed.number("control plane"));
        let keys = Keys::new(vec!["key:0123456789abcdef0123456789abcdef".parse()?]);
        let keys = Arc::new(keys.expect("one key"));
        let mut changes = Events::default();
        let mut rng = seed.stream("world");
        for person in 0..size.people() {
            changes.add(Time::from_ms(rng.below(2_000)), Change::Enters(person));
        }
        for fault in schedule.faults() {
            changes.add(fault.at, Change::Begins(*fault));
            changes.add(fault.ends_at(), Change::Ends(*fault));
        }
        changes.add(Time::from_ms(100), Change::Looks);
        changes.add(Time::ZERO + size.lasts, Change::Empties);
        let people = (0..size.people()).map(|number| {
            let (room, place) = (number / size.people_per_room, number % size.people_per_room);
            Person::new(number, (room, place < size.publishers), seed, &keys)
        });
        let mut world = Self {
            size,
            seed,
            clock: Clock::default(),
            network: Network::new(seed, size::USUAL),
            pipes: Pipes::default(),
            nodes: Vec::new(),
            servers: Vec::new(),
            store: StoreHost::new(thread_now),
            people: people.collect(),
            keys,
            session_by_addr: BTreeMap::new(),
            track_names: TrackNames::new(),
            in_flight: InFlight::default(),
            next_socket: 0,
            changes,
            active: Vec::new(),
            last_calm: LastCalm::default(),
            hash: RunHash::default(),
            coverage: Coverage::default(),
            checks: Checks::default(),
            violations: Vec::new(),
            log: None,
        };
        world.clock.advance(Time::ZERO);
        world.start_hosts()?;
        Ok(world)
    }

    /// Keeps a readable log of the run.
    pub fn with_log(mut self) -> Self {
        self.log = Some(VecDeque::new());
        self
    }

    /// Runs to the end: the time of the size, then until everything must be cleaned up.
    pub fn run(mut self) -> Outcome {
        let end = Time::ZERO + self.size.lasts + size::AFTERMATH;
        let mut steps = 0;
        while self.violations.len() < MAX_VIOLATIONS {
            self.step();
            let (now, next) = (self.clock.now(), self.next_at());
            if next > end {
                break;
            }
            steps = if next > now { 0 } else { steps + 1 };
            if steps > MAX_STEPS {
                self.violate(9, format!("{MAX_STEPS} steps without time passing"));
                break;
            }
            self.clock.advance(next.max(now));
        }
        self.check_end();
        self.check_network();
        Outcome {
            digest: self.hash.digest(),
            frames: self.checks.frames + self.frames_now(),
            violations: self.violations,
            network: self.network.counts().clone(),
            coverage: self.coverage,
            log: self.log.unwrap_or_default().into(),
        }
    }

    /// Everything that happens at the present time.
    fn step(&mut self) {
        let now = self.clock.now();
        while let Some(change) = self.changes.take_due(now) {
            self.change(change);
        }
        while let Some((route, message)) = self.pipes.receive(now) {
            self.dispatch(route, message);
        }
        while let Some(datagram) = self.network.receive(now) {
            self.deliver(datagram);
        }
        self.run_people();
        self.run_nodes();
        self.run_store();
        self.run_servers();
        self.send_of_people();
    }

    fn next_at(&self) -> Time {
        let people = self.people.iter().filter_map(Person::deadline);
        let nodes = self.nodes.iter();
        let nodes = nodes.filter_map(|host| Some(host.node.as_ref()?.next_at()));
        let servers = self.servers.iter();
        let servers = servers.filter_map(|host| host.server.as_ref()?.next_at());
        let others = [
            self.changes.next_at(),
            self.network.next_at(),
            self.pipes.next_at(),
            self.store.next_at(),
        ];
        let all = people.chain(nodes).chain(servers);
        let all = all.chain(others.into_iter().flatten());
        // The end is always among the changes, or has passed.
        all.min()
            .unwrap_or(Time::ZERO + self.size.lasts + size::AFTERMATH * 2)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Enters(person) => self.enter(person),
            Change::Begins(fault) => self.begin(fault),
            Change::Ends(fault) => self.end(fault),
            Change::Breaks(server, node) => self.break_if_cut(server, node),
            Change::SocketGone(server, socket) => self.lose_socket(server, socket),
            Change::Looks => {
                self.look();
                let next = self.clock.now() + INTERVAL;
                self.changes.add(next, Change::Looks);
            }
            Change::Empties => self.empty(),
            Change::Goes(person) => self.leave(person),
        }
    }

    fn frames_now(&self) -> u64 {
        let sinks = self.people.iter().filter_map(Person::sink);
        sinks.map(crate::client::sink::Sink::frames).sum()
    }

    /// Hashes and logs something.
    pub(super) fn record(&mut self, kind: &'static str, parts: &[&[u8]]) {
        let now = self.clock.now();
        self.hash.record(now, kind, parts);
    }

    /// Hashes and logs a text.
    pub(super) fn note(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        let now = self.clock.now();
        let text = text();
        self.hash.record(now, kind, &[text.as_bytes()]);
        if let Some(log) = &mut self.log {
            if log.len() == MAX_LOG {
                log.pop_front();
            }
            log.push_back(format!("{now} {kind}: {text}"));
        }
    }

    pub(super) fn violate(&mut self, invariant: u8, seen: String) {
        let at = self.clock.now();
        self.note("violation", || format!("{invariant}: {seen}"));
        self.violations.push(Violation {
            at,
            invariant,
            seen,
        });
    }
}
