//! The control thread: executes commands of the control plane, keeps the directory of names, creates sessions, and
//! keeps them until a shard claims them. No media passes here.

mod convert; // gRPC messages to our types and back
mod directory; // sessions and tracks by name
pub mod grpc; // gRPC service
mod lease; // leases: sessions end when their server is gone
mod http; // metrics and health
mod mail; // messages of shards
mod requests; // requests of the control plane
mod allocations; // lists the TURN allocations of all shards
pub mod run; // the loop of the control thread

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use spillway_wire::dataplane as proto;
use tokio::sync::{broadcast, oneshot};

use crate::config::Config;
use crate::dtls::handshake::FailureKind;
use crate::io::entropy::Entropy;
use crate::key::SessionKey;
use crate::limits::{EVENT_BUFFER, LOBBY_WAIT, SHARD_REPLY};
use crate::mesh::mailbox::{Mesh, Outbox};
use crate::mesh::message::ToShard;
use crate::peer::build::PeerFactory;
use crate::peer::command::{Command, CommandError, CommandReply, CommandResult};
use crate::peer::output::{Output, PeerEvent, PeerState, REJECTED};
use crate::peer::session::Peer;
use crate::report::ShardReport;
use directory::{Directory, SessionLocation, SessionRole};
use lease::Leases;

/// A request of the control plane, with the channel for its reply.
pub enum Request {
    /// Describe the node and its shards.
    Node(oneshot::Sender<proto::Node>),
    /// List the sessions and tracks of the node.
    State(oneshot::Sender<Result<proto::State, CommandError>>),
    /// `PutPublish` of the gRPC schema.
    PutPublish(proto::PutPublishRequest, oneshot::Sender<CommandResult>),
    /// `PutSubscribe` of the gRPC schema.
    PutSubscribe(proto::PutSubscribeRequest, oneshot::Sender<CommandResult>),
    /// `PutSubscriptions` of the gRPC schema.
    PutSubscriptions(
        proto::PutSubscriptionsRequest,
        oneshot::Sender<CommandResult>,
    ),
    /// `PutAnswer` of the gRPC schema.
    PutAnswer(proto::PutAnswerRequest, oneshot::Sender<CommandResult>),
    /// `AddCandidate` of the gRPC schema.
    AddCandidate(proto::AddCandidateRequest, oneshot::Sender<CommandResult>),
    /// `Annotate` of the gRPC schema.
    Annotate(proto::AnnotateRequest, oneshot::Sender<CommandResult>),
    /// `CloseSession` of the gRPC schema.
    Close(proto::CloseSessionRequest, oneshot::Sender<CommandResult>),
    /// `RenewLease` of the gRPC schema.
    RenewLease(proto::RenewLeaseRequest, oneshot::Sender<CommandResult>),
    /// `TakeSessions` of the gRPC schema.
    TakeSessions(proto::TakeSessionsRequest, oneshot::Sender<CommandResult>),
    /// `ListAllocations` of the gRPC schema.
    Allocations(oneshot::Sender<Result<proto::ListAllocationsReply, CommandError>>),
    /// Counters in the Prometheus text format.
    Metrics(oneshot::Sender<String>),
}

/// Addresses that clients use to reach the node.
#[derive(Debug, Clone)]
pub struct AdvertisedAddresses {
    /// Media addresses of the node, IP:port.
    pub addresses: Vec<String>,
    /// TURN URLs, the preferred one first.
    pub turn_urls: Vec<String>,
    /// Ids of the secrets that verify TURN credentials.
    pub turn_secret_ids: Vec<String>,
}

/// State of the control thread.
pub struct Control {
    config: Config,
    incarnation: String,
    advertised: AdvertisedAddresses,
    started: Instant,
    factory: PeerFactory,
    entropy: Entropy,
    directory: Directory,
    leases: Leases,
    outbox: Outbox,
    reports: Vec<ShardReport>,
    events: broadcast::Sender<proto::Event>,
    /// Commands that wait for a shard's reply, by request number.
    commands: BTreeMap<u64, Sent>,
    /// State requests that wait for descriptions of shards, by request number.
    descriptions: BTreeMap<u64, Describing>,
    /// Allocation requests that wait for replies of shards, by request number.
    listings: BTreeMap<u64, Listing>,
    next_request: u64,
    stopped_shards: usize,
}

struct Sent {
    session: SessionKey,
    reply: oneshot::Sender<CommandResult>,
    deadline: Instant,
}

struct Describing {
    reply: oneshot::Sender<Result<proto::State, CommandError>>,
    deadline: Instant,
    missing: usize,
    sessions: BTreeMap<SessionKey, PeerState>,
}

struct Listing {
    reply: oneshot::Sender<Result<proto::ListAllocationsReply, CommandError>>,
    deadline: Instant,
    missing: usize,
    allocations: Vec<proto::Allocation>,
}

impl Control {
    /// A control thread without sessions.
    pub fn new(
        config: Config,
        advertised: AdvertisedAddresses,
        factory: PeerFactory,
        mesh: Arc<Mesh>,
        mut entropy: Entropy,
        now: Instant,
    ) -> Self {
        let shards = u16::try_from(mesh.shards()).expect("MAX_SHARDS fits");
        Self {
            config,
            incarnation: entropy.name::<8>(),
            advertised,
            started: now,
            factory,
            entropy,
            directory: Directory::default(),
            leases: Leases::default(),
            outbox: Outbox::new(mesh),
            reports: (0..shards)
                .map(|id| ShardReport::new(crate::key::ShardId(id)))
                .collect(),
            events: broadcast::channel(EVENT_BUFFER).0,
            commands: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            listings: BTreeMap::new(),
            next_request: 0,
            stopped_shards: 0,
        }
    }

    /// Broadcast channel of events for the control plane.
    pub fn events(&self) -> &broadcast::Sender<proto::Event> {
        &self.events
    }

    /// Random id of this process.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Tells all shards to close their sessions and end.
    pub fn stop(&mut self) {
        let shards: Vec<_> = self.reports.iter().map(|report| report.shard).collect();
        for shard in shards {
            self.send(shard, ToShard::Stop);
        }
    }

    /// True when every shard has ended.
    pub fn is_stopped(&self) -> bool {
        self.stopped_shards == self.reports.len()
    }

    /// True while a deadline exists that [`tick`](Self::tick) must check.
    pub fn waits(&self) -> bool {
        let asked = self.commands.len() + self.descriptions.len() + self.listings.len();
        asked > 0 || self.directory.expects() || self.outbox.has_backlog()
    }

    /// Ends sessions and requests whose deadline has passed.
    pub fn tick(&mut self, now: Instant) {
        self.outbox.flush();
        for session in self.directory.overdue_in_lobby(now, LOBBY_WAIT) {
            self.closed(
                session,
                "no connectivity check came in time".to_owned(),
                None,
            );
        }
        let late = |deadline: Instant| deadline <= now;
        for sent in take_if(&mut self.commands, |sent| late(sent.deadline)) {
            let _ = sent.reply.send(Err(CommandError::Unanswered));
        }
        for asked in take_if(&mut self.descriptions, |asked| late(asked.deadline)) {
            let _ = asked.reply.send(Err(CommandError::Unanswered));
        }
        for asked in take_if(&mut self.listings, |asked| late(asked.deadline)) {
            let _ = asked.reply.send(Err(CommandError::Unanswered));
        }
    }

    /// Executes `command` where the session is, and sends the result to `reply`.
    fn run(
        &mut self,
        key: SessionKey,
        command: Command,
        reply: oneshot::Sender<CommandResult>,
        now: Instant,
    ) {
        let Some(record) = self.directory.get_mut(key) else {
            let _ = reply.send(Err(CommandError::UnknownSession(format!("#{}", key.0))));
            return;
        };
        match &mut record.location {
            SessionLocation::Lobby { peer, negotiated } => {
                let settles = matches!(command, Command::Publish { .. } | Command::Answer { .. });
                let result = run_in_lobby(peer, command, now);
                // A new session whose first command failed is not kept.
                let remove_on_error = matches!(record.role, SessionRole::Publish(_))
                    && negotiated.is_none()
                    && result.0.is_err();
                if settles && result.0.is_ok() {
                    self.directory.expect(key, now);
                }
                if let Ok(CommandReply::Answer(answered)) = &result.0 {
                    self.directory.answered(key, &answered.tracks);
                }
                let _ = reply.send(result.0);
                self.on_lobby_events(key, result.1);
                if remove_on_error {
                    self.directory.remove(key);
                }
            }
            SessionLocation::Shard(shard) => {
                let shard = *shard;
                let request = self.new_request();
                self.commands.insert(
                    request,
                    Sent {
                        session: key,
                        reply,
                        deadline: now + SHARD_REPLY,
                    },
                );
                self.send(
                    shard,
                    ToShard::Command {
                        request,
                        session: key,
                        command,
                    },
                );
            }
        }
    }

    fn on_lobby_events(&mut self, key: SessionKey, events: Vec<PeerEvent>) {
        for event in events {
            match event {
                PeerEvent::Offer(offer) => self.publish_offer(key, offer),
                PeerEvent::NewUfrag { ufrag, retired } => {
                    self.directory.add_ufrag(key, ufrag, retired.as_ref());
                }
                PeerEvent::Closed(reason) => self.closed(key, reason, None),
                PeerEvent::HandshakeFailed { kind, reason } => {
                    self.closed(key, reason, Some(kind));
                }
                PeerEvent::Rejected(track) => {
                    self.publish_layer((key, track), String::new(), false, REJECTED);
                }
                // Other events matter only to a shard, which reads the session's state when it adopts it.
                PeerEvent::Connected
                | PeerEvent::TracksChanged { .. }
                | PeerEvent::Negotiated
                | PeerEvent::Undecodable(_)
                | PeerEvent::KeyframeWanted(_)
                | PeerEvent::EstimateChanged
                | PeerEvent::Measured(_)
                | PeerEvent::Unsubscribed(_) => {}
            }
        }
    }

    /// Removes a session and publishes the event of its end.
    fn closed(&mut self, key: SessionKey, reason: String, failure: Option<FailureKind>) {
        if let Some(record) = self.directory.remove(key) {
            // Shards that forward datagrams of the session must stop.
            let shards = u16::try_from(self.outbox.mesh().shards()).expect("MAX_SHARDS fits");
            for shard in (0..shards).map(crate::key::ShardId) {
                self.send(shard, ToShard::NotHere(key));
            }
            match failure {
                None => tracing::info!(session = record.id, reason, "session closed"),
                Some(_) => tracing::warn!(session = record.id, reason, "handshake failed"),
            }
            let closed = proto::SessionClosed {
                session: record.id,
                reason,
                failure: failure.map_or("", FailureKind::label).to_owned(),
            };
            self.publish_event(proto::event::Event::Closed(closed));
        }
    }

    fn publish_event(&self, event: proto::event::Event) {
        // Without receivers the event is lost: a new receiver reads the state first.
        let _ = self.events.send(proto::Event { event: Some(event) });
    }

    fn send(&mut self, shard: crate::key::ShardId, letter: ToShard) {
        if self.outbox.send(shard, letter).is_err() {
            tracing::error!(
                shard = shard.0,
                "a letter was lost: the shard does not read"
            );
        }
    }

    fn new_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }
}

/// Runs a command on a session in the lobby. The session sends no datagrams, because an ICE-lite agent waits for
/// checks.
fn run_in_lobby(
    peer: &mut Peer,
    command: Command,
    now: Instant,
) -> (CommandResult, Vec<PeerEvent>) {
    let mut out = Output::default();
    let result = peer.apply(command, now, &mut out);
    (result, out.events)
}

/// Removes and returns the values for which `is_over` is true, in order.
fn take_if<T>(asked: &mut BTreeMap<u64, T>, is_over: impl Fn(&T) -> bool) -> Vec<T> {
    let over = asked.iter().filter(|(_, one)| is_over(one));
    let over: Vec<u64> = over.map(|(request, _)| *request).collect();
    over.iter()
        .filter_map(|request| asked.remove(request))
        .collect()
}
