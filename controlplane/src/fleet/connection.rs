//! The gRPC connection to a node. It reconnects until the process ends, and reads the node's state
//! after each connect. It tells a dead data plane from one that cannot be reached.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use spillway_wire::dataplane as wire;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use wire::data_plane_client::DataPlaneClient;

use super::{Command, Done, HeldSession, NodeEntry, NodeError, NodeUpdate, Update, convert};
use crate::clock;
use crate::config::ControlAddress;
use crate::ids::{NodeId, SessionId};
use crate::limits::{CALL_TIME, LEASE_RENEWAL, RECONNECT_PAUSE, REPLY_BYTES};

/// A handle to the connection, for commands. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Connection {
    node: NodeId,
    client: DataPlaneClient<Channel>,
    state: watch::Receiver<NodeState>,
    turn_urls: watch::Receiver<Arc<[String]>>,
}

/// State of the connection to a node, as the admin API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The connection is not open.
    Connecting,
    /// Connected, and the node's state was read.
    Connected,
}

/// This server's lease at the nodes.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Name of this server process as owner.
    pub owner: String,
    /// Time after which a node closes sessions whose lease was not renewed.
    pub time: Duration,
}

/// Time within which a node that does not answer is not reported, because it may be starting.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// Maintains the connection to one node, see [`Supervisor::run`].
#[derive(Debug)]
pub(super) struct Supervisor {
    connection: Connection,
    entry: NodeEntry,
    state: watch::Sender<NodeState>,
    turn_urls: watch::Sender<Arc<[String]>>,
    /// Id of this server's TURN secret.
    secret_id: Option<String>,
    lease: Lease,
    incarnation: Option<String>,
    updates: mpsc::Sender<NodeUpdate>,
}

impl Connection {
    /// State of the connection. The receiver shows changes.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// TURN URLs of the node. The receiver shows changes.
    pub fn turn_urls(&self) -> watch::Receiver<Arc<[String]>> {
        self.turn_urls.clone()
    }

    /// Lists the node's TURN allocations.
    pub async fn allocations(&self) -> Result<Vec<wire::Allocation>, NodeError> {
        let mut client = self.client.clone();
        let request = timed(wire::ListAllocationsRequest {});
        let listed = bounded(client.list_allocations(request)).await?;
        Ok(listed.allocations)
    }

    /// Sends one command and waits for its result.
    pub async fn call(&self, command: Command) -> Result<Done, NodeError> {
        use convert::Request;
        let mut client = self.client.clone();
        match Request::from(command) {
            Request::PutPublish(put) => {
                let reply = bounded(client.put_publish(timed(put))).await?;
                return Ok(convert::answer(reply));
            }
            Request::PutSubscribe(put) => drop(bounded(client.put_subscribe(timed(put))).await?),
            Request::PutSubscriptions(put) => {
                bounded(client.put_subscriptions(timed(put))).await?;
            }
            Request::PutAnswer(put) => drop(bounded(client.put_answer(timed(put))).await?),
            Request::AddCandidate(add) => drop(bounded(client.add_candidate(timed(add))).await?),
            Request::Annotate(note) => drop(bounded(client.annotate(timed(note))).await?),
            Request::CloseSession(end) => drop(bounded(client.close_session(timed(end))).await?),
        }
        Ok(Done::Nothing)
    }

    /// Makes `owner` the owner of these sessions, so that its lease keeps them.
    pub async fn take_lease(&self, owner: &str, sessions: &[SessionId]) -> Result<(), NodeError> {
        let mut client = self.client.clone();
        let sessions = sessions.iter().map(SessionId::to_string);
        let request = wire::TakeSessionsRequest {
            owner: owner.to_owned(),
            sessions: sessions.collect(),
        };
        bounded(client.take_sessions(timed(request))).await?;
        Ok(())
    }

    async fn renew(&self, lease: &Lease) -> Result<(), NodeError> {
        let mut client = self.client.clone();
        let request = wire::RenewLeaseRequest {
            owner: lease.owner.clone(),
            time_ms: lease.time.as_millis() as u64,
        };
        match bounded(client.renew_lease(timed(request))).await {
            // A node of an earlier version has no leases: its sessions end only with their clients.
            Ok(_) | Err(NodeError::Unsupported(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the description of the data plane, with the load of its shards.
    pub async fn describe(&self) -> Result<wire::Node, NodeError> {
        let mut client = self.client.clone();
        bounded(client.get_node(timed(wire::GetNodeRequest {}))).await
    }

    /// Reads the state of these sessions.
    pub async fn sessions(&self, sessions: &[SessionId]) -> Result<Vec<HeldSession>, NodeError> {
        if sessions.is_empty() {
            return Ok(Vec::new()); // in the request, an empty list means all sessions
        }
        let state = self.state_of(sessions).await?;
        Ok(self.held(state))
    }

    fn held(&self, state: wire::State) -> Vec<HeldSession> {
        let sessions = state.sessions.into_iter();
        let ours = sessions.filter_map(|held| convert::session(&self.node, held));
        ours.collect()
    }

    /// Reads the state of `sessions`, or of all sessions if the list is empty, as types of the
    /// schema.
    pub async fn state_of(&self, sessions: &[SessionId]) -> Result<wire::State, NodeError> {
        let mut client = self.client.clone();
        let sessions = sessions.iter().map(SessionId::to_string);
        let request = wire::GetStateRequest {
            sessions: sessions.collect(),
        };
        bounded(client.get_state(timed(request))).await
    }
}

impl Supervisor {
    /// A supervisor that is not connected yet. It renews `lease`, and warns if the data plane does not
    /// have the TURN secret of `secret_id`. Fails if the address is not a URI.
    pub(super) fn new(
        entry: NodeEntry,
        (lease, secret_id): (Lease, Option<String>),
        updates: mpsc::Sender<NodeUpdate>,
    ) -> Result<(Self, Connection), tonic::transport::Error> {
        let uri = match &entry.address {
            ControlAddress::Unix(path) => format!("unix:{}", path.display()),
            ControlAddress::Tcp(uri) => uri.clone(),
        };
        let endpoint = Endpoint::from_shared(uri)?
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let client = DataPlaneClient::new(endpoint.connect_lazy());
        let (state, receiver) = watch::channel(NodeState::Connecting);
        let (turn_urls, urls_receiver) = watch::channel(Arc::from([]));
        let connection = Connection {
            node: entry.node.clone(),
            client: client.max_decoding_message_size(REPLY_BYTES),
            state: receiver,
            turn_urls: urls_receiver,
        };
        let supervisor = Self {
            connection: connection.clone(),
            entry,
            state,
            turn_urls,
            secret_id,
            lease,
            incarnation: None,
            updates,
        };
        Ok((supervisor, connection))
    }

    /// Runs until the receiver of the updates is dropped.
    pub(super) async fn run(mut self) {
        let (first_pause, longest_pause) = RECONNECT_PAUSE;
        let started = clock::now();
        let mut pause = first_pause;
        let mut has_warned = false;
        while !self.updates.is_closed() {
            let ended = self.follow().await;
            if *self.state.borrow() == NodeState::Connected {
                pause = first_pause;
                has_warned = false;
            }
            self.state.send_replace(NodeState::Connecting);
            // A node that is starting is not reported.
            let is_reportable = self.incarnation.is_some() || started.elapsed() >= START_PATIENCE;
            if !has_warned && is_reportable {
                let NodeEntry { node, address } = &self.entry;
                tracing::warn!(%node, ?address, reason = %ended, "node: not connected, trying again");
                has_warned = true;
            }
            if self.incarnation.is_some() && self.is_process_gone().await {
                self.incarnation = None;
                self.send_update(Update::Lost).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest_pause);
        }
    }

    /// Connects, reads the state, and forwards events until the stream ends. Returns the reason.
    async fn follow(&mut self) -> NodeError {
        let mut client = self.connection.client.clone();
        let events =
            tokio::time::timeout(CALL_TIME, client.watch_events(wire::WatchEventsRequest {}));
        let mut events = match events.await {
            Ok(Ok(events)) => events.into_inner(),
            Ok(Err(status)) => return status.into(),
            Err(_) => return NodeError::Unavailable("no answer in time".to_owned()),
        };
        let hello = match next_event(&mut events, CALL_TIME).await {
            Ok(wire::event::Event::Hello(hello)) => hello,
            Ok(_) => return NodeError::Internal("its first event is not Hello".to_owned()),
            Err(error) => return error,
        };
        // First: if no server was connected, a renewal restarts the leases of all owners, also of
        // earlier servers.
        if let Err(error) = self.connection.renew(&self.lease).await {
            return error;
        }
        let state = match self.connection.state_of(&[]).await {
            Ok(state) if state.incarnation == hello.incarnation => state,
            Ok(_) => return NodeError::Unavailable("it restarted meanwhile".to_owned()),
            Err(error) => return error,
        };
        let described = match self.connection.describe().await {
            Ok(described) => described,
            Err(error) => return error,
        };
        self.compare_secrets(&described);
        let turn_urls: Arc<[String]> = described.turn_urls.into();
        self.turn_urls.send_replace(Arc::clone(&turn_urls));
        let incarnation = Some(state.incarnation.clone());
        if self.incarnation.is_some() && self.incarnation != incarnation {
            self.send_update(Update::Lost).await;
        }
        self.incarnation = incarnation;
        let sessions = self.connection.held(state);
        let (node, count) = (&self.entry.node, sessions.len());
        tracing::info!(%node, incarnation = %hello.incarnation, sessions = count, "node: connected");
        self.send_update(Update::Synced {
            sessions,
            turn_urls,
        })
        .await;
        self.state.send_replace(NodeState::Connected);
        tokio::select! {
            error = self.renew_until_error() => error,
            error = self.forward_events(&mut events) => error,
        }
    }

    /// Renews the lease periodically until that fails.
    async fn renew_until_error(&self) -> NodeError {
        loop {
            tokio::time::sleep(LEASE_RENEWAL).await;
            if let Err(error) = self.connection.renew(&self.lease).await {
                return error;
            }
        }
    }

    /// Forwards events until the stream ends.
    async fn forward_events(&self, events: &mut tonic::Streaming<wire::Event>) -> NodeError {
        loop {
            match next_event(events, Duration::MAX).await {
                Ok(event) => {
                    if let Some(event) = convert::event(event) {
                        self.send_update(Update::Event(event)).await;
                    }
                    if self.updates.is_closed() {
                        return NodeError::Unavailable("we are ending".to_owned());
                    }
                }
                Err(error) => return error,
            }
        }
    }

    async fn send_update(&self, update: Update) {
        let node = self.entry.node.clone();
        // The receiver is dropped when the process ends.
        let _ = self.updates.send(NodeUpdate { node, update }).await;
    }

    /// Warns if clients would get TURN credentials that the node refuses, or none.
    fn compare_secrets(&self, node: &wire::Node) {
        if node.turn_urls.is_empty() {
            return;
        }
        let urls = node.turn_urls.join(" ");
        match &self.secret_id {
            None => tracing::warn!(
                urls,
                "the data plane relays, but turn-secret is not set: clients are given no credentials for it"
            ),
            Some(id) if !node.turn_secret_ids.contains(id) => tracing::warn!(
                urls,
                "turn-secret is none of the data plane's: it will refuse the credentials that clients are given"
            ),
            Some(_) => {}
        }
    }

    /// True if the data plane's process has certainly ended: no process listens on its unix socket.
    /// Over TCP only a new incarnation proves that, because clients may still reach a data plane
    /// that this server cannot reach.
    async fn is_process_gone(&self) -> bool {
        let ControlAddress::Unix(path) = &self.entry.address else {
            return false;
        };
        match UnixStream::connect(path).await {
            Ok(_) => false,
            Err(error) => {
                matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                )
            }
        }
    }
}

async fn next_event(
    events: &mut tonic::Streaming<wire::Event>,
    patience: Duration,
) -> Result<wire::event::Event, NodeError> {
    loop {
        let event = match tokio::time::timeout(patience, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(status))) => return Err(status.into()),
            Ok(None) => return Err(NodeError::Unavailable("it ended the stream".to_owned())),
            Err(_) => return Err(NodeError::Unavailable("no event in time".to_owned())),
        };
        // Ignore event types of a newer schema.
        if let Some(event) = event.event {
            return Ok(event);
        }
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIME);
    request
}

async fn bounded<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, NodeError> {
    match tokio::time::timeout(CALL_TIME, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => {
            let seconds = CALL_TIME.as_secs();
            Err(NodeError::Unavailable(format!(
                "no answer within {seconds} s"
            )))
        }
    }
}
