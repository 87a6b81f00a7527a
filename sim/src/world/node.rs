//! A data plane: its shards take turns in one thread, and its control thread answers requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_dataplane::config::{Config, ControlAddr};
use spillway_dataplane::control::{AdvertisedAddresses, Control, Request};
use spillway_dataplane::dtls;
use spillway_dataplane::event_loop::run::{BusyMeter, note_turn, note_wake, turn, wake_at};
use spillway_dataplane::ice::candidates::Candidates;
use spillway_dataplane::ice::credentials::IceKey;
use spillway_dataplane::io::egress::EgressKind;
use spillway_dataplane::io::engine::{Engine, EngineChoice};
use spillway_dataplane::io::entropy::Entropy;
use spillway_dataplane::io::simulated::{SendLimits, Simulated, Waiting};
use spillway_dataplane::io::udp::{Family, PortKind, SocketIndex, Steering};
use spillway_dataplane::key::ShardId;
use spillway_dataplane::mesh::mailbox::Mesh;
use spillway_dataplane::path::Sockets;
use spillway_dataplane::path::arrive::Overflows;
use spillway_dataplane::peer::build::PeerFactory;
use spillway_dataplane::peer::command::{CommandError, CommandReply, CommandResult};
use spillway_dataplane::shard::state::{Ice, Setup, Shard};
use spillway_dataplane::srtp::AeadChoice;
use spillway_dataplane::stream::{Streams, TlsOptions};
use spillway_dataplane::turn::Now;
use spillway_wire::dataplane as proto;
use tokio::sync::{broadcast, oneshot};

use super::violation::Violation;
use crate::clock::{START_UNIX_S, Time};
use crate::dtls::Seeded;
use crate::fault::{Fault, FaultKind};
use crate::network::Datagram;
use crate::rng::Seed;

/// A data plane.
pub(super) struct Node {
    addr: SocketAddr,
    seed: Seed,
    control: Control,
    mesh: Arc<Mesh>,
    events: broadcast::Receiver<proto::Event>,
    workers: Vec<Worker>,
    /// Shard of each client address, as the kernel's hash would choose it.
    shard_by_source: BTreeMap<SocketAddr, usize>,
    asked: Vec<Asked>,
    next_tick: Time,
}

/// One shard with its engine.
struct Worker {
    shard: Shard,
    io: Sockets,
    busy: BusyMeter,
    /// The shard's next tick when it fell asleep; `None` before its first turn.
    tick: Option<Instant>,
    /// Time when the shard fell asleep.
    slept_at: Instant,
    is_stalled: bool,
    /// Time by which turns are late.
    late: Duration,
    limits: SendLimits,
    /// Datagrams that were put into the receive buffer.
    arrived: u64,
    /// Datagrams that were taken out of the send buffer.
    sent: u64,
}

struct Asked {
    person: usize,
    reply: oneshot::Receiver<CommandResult>,
}

/// Result of a request.
#[derive(Debug)]
pub(super) struct Reply {
    /// Index of the person that the request was for.
    pub(super) person: usize,
    /// The answer to an offer, if the request had one.
    pub(super) result: Result<Option<String>, CommandError>,
}

/// Receive buffer of a shard, in bytes.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Interval of the control thread's deadline checks.
const CONTROL_TICK: Duration = Duration::from_millis(50);
/// Turns of a shard at one time after which it does not come to rest.
const MAX_TURNS: usize = 1_000;
/// Sessions that the node accepts.
const MAX_SESSIONS: usize = 1_000;
/// Tracks of a session.
const MAX_TRACKS: usize = 32;

impl Node {
    /// Starts a node with `shards` shards at `addr`.
    pub(super) fn start(
        addr: SocketAddr,
        shards: u16,
        seed: Seed,
        now: Time,
    ) -> anyhow::Result<Self> {
        let entropy = |name: &str| Entropy::seeded(seed.number(&format!("{name} of {addr}")));
        let candidates = Candidates::new(&[addr.ip()], addr.port());
        let key = IceKey::generate(&mut entropy("ice key"));
        // The session layer requires a static reference. A run leaves a few bytes behind.
        let seeded = Box::leak(Box::new(Seeded::new(
            seed.stream(&format!("dtls of {addr}")),
        )));
        let crypto = dtls::tapped(seeded, AeadChoice::Library);
        let reached_at = candidates.as_slice().to_vec();
        let factory = PeerFactory::with_crypto(key.clone(), reached_at, false, crypto)?;
        let mesh = Mesh::new(usize::from(shards))?;
        let mut workers = Vec::new();
        for id in 0..shards {
            let setup = Setup {
                id: ShardId(id),
                mesh: Arc::clone(&mesh),
                ice: Ice {
                    key: key.clone(),
                    candidates: candidates.clone(),
                },
                streams: Streams::new(Vec::new(), TlsOptions::default())?,
                entropy: entropy(&format!("shard {id}")),
            };
            workers.push(Worker::new(Shard::new(setup, now.instant()), now));
        }
        let advertised = AdvertisedAddresses {
            addresses: vec![addr.to_string()],
            turn_urls: Vec::new(),
            turn_secret_ids: Vec::new(),
        };
        let control = Control::new(
            config(addr, shards),
            advertised,
            factory,
            Arc::clone(&mesh),
            entropy("control"),
            now.instant(),
        );
        Ok(Self {
            addr,
            seed,
            events: control.events().subscribe(),
            control,
            mesh,
            workers,
            shard_by_source: BTreeMap::new(),
            asked: Vec::new(),
            next_tick: now,
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the faults inside the node that are active now.
    pub(super) fn set_faults(&mut self, active: &[Fault]) {
        let count = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let own = active
                .iter()
                .filter(|fault| fault.target as usize % count == index);
            let amount = |kind: FaultKind| {
                let mut of_kind = own.clone().filter(|fault| fault.kind == kind);
                of_kind.next().map(|fault| fault.amount)
            };
            worker.is_stalled = amount(FaultKind::StalledShard).is_some();
            let late_ms = amount(FaultKind::LateTimers).unwrap_or(0);
            worker.late = Duration::from_millis(u64::from(late_ms));
            worker.limits = SendLimits {
                room_bytes: amount(FaultKind::FullSocket).map(|bytes| bytes as usize),
                refuses_runs: false,
            };
        }
    }

    /// Puts a datagram of a client into the receive buffer of its shard.
    pub(super) fn arrive(&mut self, datagram: Datagram) {
        let (seed, count) = (self.seed, self.workers.len() as u64);
        let source = datagram.from;
        let shard = *self
            .shard_by_source
            .entry(source)
            .or_insert_with(|| (seed.number(&format!("steering {source}")) % count) as usize);
        let worker = &mut self.workers[shard];
        let arrived = worker.engine().arrive(Waiting {
            socket: 0,
            source,
            local: datagram.to.ip(),
            bytes: datagram.bytes,
        });
        worker.arrived += u64::from(arrived);
    }

    /// All threads work until nothing is left to do at `now`. Returns what was sent.
    pub(super) fn run(&mut self, now: Time, violations: &mut Vec<Violation>) -> Vec<Datagram> {
        let mut sent = Vec::new();
        self.control.read_mail(now.instant());
        if self.next_tick <= now {
            self.next_tick = now + CONTROL_TICK;
            self.control.tick(now.instant());
        }
        for _ in 0..MAX_TURNS {
            let mut had_work = false;
            for worker in &mut self.workers {
                if worker.is_due(&self.mesh, now) {
                    had_work = true;
                    worker.work(now, violations);
                    worker.take_sent(self.addr, &mut sent);
                    worker.check(now, violations);
                }
            }
            self.control.read_mail(now.instant());
            if !had_work {
                return sent;
            }
        }
        violations.push(Violation {
            at: now,
            invariant: 9,
            seen: "the shards send letters to each other without end".to_owned(),
        });
        sent
    }

    /// Time at which the node has something to do.
    pub(super) fn next_at(&self) -> Time {
        let workers = self.workers.iter();
        let due = workers.filter_map(|worker| worker.due_at(&self.mesh));
        due.fold(self.next_tick, Time::min)
    }

    /// The next event for the control plane.
    pub(super) fn poll_event(
        &mut self,
        violations: &mut Vec<Violation>,
        now: Time,
    ) -> Option<proto::event::Event> {
        loop {
            match self.events.try_recv() {
                Ok(event) => match event.event {
                    Some(event) => return Some(event),
                    None => continue,
                },
                Err(broadcast::error::TryRecvError::Lagged(lost)) => violations.push(Violation {
                    at: now,
                    invariant: 9,
                    seen: format!("{lost} events for the control plane are lost"),
                }),
                Err(_) => return None,
            }
        }
    }

    /// The next reply to a request.
    pub(super) fn poll_reply(&mut self) -> Option<Reply> {
        for index in 0..self.asked.len() {
            let result = match self.asked[index].reply.try_recv() {
                Ok(result) => result,
                Err(oneshot::error::TryRecvError::Empty) => continue,
                Err(oneshot::error::TryRecvError::Closed) => Err(CommandError::Unanswered),
            };
            let person = self.asked.remove(index).person;
            let result = result.map(|reply| match reply {
                CommandReply::Answer(answered) => Some(answered.sdp),
                CommandReply::Done => None,
            });
            return Some(Reply { person, result });
        }
        None
    }

    /// Asks for a publish session of `person`.
    pub(super) fn publish(
        &mut self,
        person: usize,
        session: &str,
        offer: String,
        tracks: Vec<proto::Track>,
        now: Time,
    ) {
        let request = proto::PutPublishRequest {
            session: session.to_owned(),
            offer_sdp: offer,
            tracks,
            annotation: Vec::new(),
            owner: String::new(),
        };
        self.ask(person, now, |reply| Request::PutPublish(request, reply));
    }

    /// Asks for a subscribe session of `person`.
    pub(super) fn subscribe(&mut self, person: usize, session: &str, now: Time) {
        let request = proto::PutSubscribeRequest {
            session: session.to_owned(),
            annotation: Vec::new(),
            owner: String::new(),
        };
        self.ask(person, now, |reply| Request::PutSubscribe(request, reply));
    }

    /// Adds subscriptions of `tracks`.
    pub(super) fn put_subscriptions(
        &mut self,
        person: usize,
        session: &str,
        tracks: &[proto::Track],
        now: Time,
    ) {
        let put = tracks.iter().map(|track| proto::TrackWish {
            track: track.track.clone(),
            kind: track.kind,
            wish: None,
            group: None,
        });
        let request = proto::PutSubscriptionsRequest {
            session: session.to_owned(),
            put: put.collect(),
            remove: Vec::new(),
        };
        self.ask(person, now, |reply| {
            Request::PutSubscriptions(request, reply)
        });
    }

    /// Passes on the answer of a client.
    pub(super) fn answer(
        &mut self,
        person: usize,
        session: &str,
        revision: u64,
        answer: String,
        now: Time,
    ) {
        let request = proto::PutAnswerRequest {
            session: session.to_owned(),
            revision,
            answer_sdp: answer,
        };
        self.ask(person, now, |reply| Request::PutAnswer(request, reply));
    }

    fn ask(
        &mut self,
        person: usize,
        now: Time,
        request: impl FnOnce(oneshot::Sender<CommandResult>) -> Request,
    ) {
        let (sender, reply) = oneshot::channel();
        self.control.on_request(request(sender), now.instant());
        self.asked.push(Asked { person, reply });
    }
}

impl Worker {
    fn new(shard: Shard, now: Time) -> Self {
        let simulated = Simulated::new(RECEIVE_BUFFER_BYTES, now.instant());
        Self {
            shard,
            io: Sockets {
                engine: Engine::simulated(simulated),
                overflows: Overflows::default(),
                socket_index: SocketIndex::new(vec![(PortKind::Media, Family::V4)]),
            },
            busy: BusyMeter::new(now.instant()),
            tick: None,
            slept_at: now.instant(),
            is_stalled: false,
            late: Duration::ZERO,
            limits: SendLimits::default(),
            arrived: 0,
            sent: 0,
        }
    }

    fn engine(&mut self) -> &mut Simulated {
        let engine = self.io.engine.as_simulated();
        engine.expect("the engine was made without a kernel")
    }

    /// True if the shard must take a turn at `now`.
    fn is_due(&mut self, mesh: &Mesh, now: Time) -> bool {
        !self.is_stalled
            && (self.engine().is_readable()
                || !mesh.is_empty(self.shard.id)
                || self.wake_at() <= now)
    }

    /// Time at which the shard must take a turn; `None` while it is stalled.
    fn due_at(&self, mesh: &Mesh) -> Option<Time> {
        let has_mail = !mesh.is_empty(self.shard.id);
        let wake_at = if has_mail { Time::ZERO } else { self.wake_at() };
        (!self.is_stalled).then_some(wake_at)
    }

    /// Time at which the sleeping shard wakes up by itself.
    fn wake_at(&self) -> Time {
        if self.tick.is_none() {
            return Time::ZERO;
        }
        Time::of(wake_at(&self.shard, self.slept_at)) + self.late
    }

    /// Takes turns until the shard would sleep.
    fn work(&mut self, now: Time, violations: &mut Vec<Violation>) {
        let instant = now.instant();
        let limits = self.limits;
        self.engine().set_now(instant);
        self.engine().set_limits(limits);
        let mut had_activity = match self.tick {
            Some(tick) => note_wake(&mut self.shard, tick, instant),
            None => true,
        };
        let at = Now {
            instant,
            unix_s: START_UNIX_S + now.since_start().as_secs(),
        };
        for _ in 0..MAX_TURNS {
            let more = turn(&mut self.shard, &mut self.io, &mut self.busy, at);
            note_turn(&mut self.shard, had_activity);
            had_activity = true;
            if !more {
                self.tick = Some(self.shard.next_tick());
                self.slept_at = instant;
                return;
            }
        }
        violations.push(Violation {
            at: now,
            invariant: 9,
            seen: format!("shard {} does not come to rest", self.shard.id),
        });
    }

    /// Moves what the shard sent to `sent`, datagram by datagram.
    fn take_sent(&mut self, from: SocketAddr, sent: &mut Vec<Datagram>) {
        for message in self.engine().take_sent() {
            for bytes in message.datagrams() {
                self.sent += 1;
                sent.push(Datagram {
                    from,
                    to: message.destination,
                    bytes: bytes.to_vec(),
                });
            }
        }
    }

    /// Invariant 4: the shard counts each datagram that it received and sent.
    fn check(&mut self, now: Time, violations: &mut Vec<Violation>) {
        let waiting = self.engine().waiting() as u64;
        let traffic = self.shard.report.traffic;
        for (what, counted, expected) in [
            ("received", traffic.packets_in, self.arrived - waiting),
            ("sent", traffic.packets_out, self.sent),
        ] {
            if counted != expected {
                violations.push(Violation {
                    at: now,
                    invariant: 4,
                    seen: format!(
                        "shard {} counts {counted} datagrams {what}, and {expected} were",
                        self.shard.id
                    ),
                });
            }
        }
    }
}

fn config(addr: SocketAddr, shards: u16) -> Config {
    Config {
        node: addr.to_string(),
        control: ControlAddr::Unix("/nonexistent".into()),
        metrics: None,
        udp_port: addr.port(),
        ice_tcp: false,
        cores: (0..u32::from(shards)).collect(),
        advertise: vec![addr.ip()],
        steering: Steering::Hash,
        io: EngineChoice::Auto,
        egress: EgressKind::Stack,
        aead: AeadChoice::Library,
        socket_buffer_bytes: RECEIVE_BUFFER_BYTES,
        max_sessions: MAX_SESSIONS,
        max_tracks_per_session: MAX_TRACKS,
        turn: None,
        log: "info".to_owned(),
    }
}
