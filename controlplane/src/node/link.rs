//! The gRPC connection to a data plane: reconnects forever, reads the state back each time, and tells
//! a dead data plane from one that is merely out of reach.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use spillway_wire::dataplane as wire;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use wire::data_plane_client::DataPlaneClient;

use super::{Call, Done, NodeError};
use crate::clock;
use crate::config::ControlAddress;
use crate::ids::SessionId;
use crate::limits::{CALL_TIME, LEASE_RENEWAL, RECONNECT_PAUSE, REPLY_BYTES};

/// Sends commands; clones share one connection.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    client: DataPlaneClient<Channel>,
    state: watch::Receiver<NodeState>,
    turn_urls: watch::Receiver<Arc<[String]>>,
}

/// Whether commands have a chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Not yet, or not now.
    Connecting,
    /// Connected, and its state was read.
    Connected,
}

/// What the rooms must know.
#[derive(Debug)]
pub enum NodeUpdate {
    /// It died, and every session with it.
    Lost,
    /// It is connected and holds these sessions.
    Synced(Vec<wire::Session>),
    /// Something happened to a session.
    Event(wire::event::Event),
}

/// What keeps our participants' sessions at the data plane.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Whose it is: this process's.
    pub owner: String,
    /// How long they stay without us.
    pub time: Duration,
}

/// For a data plane to come up together with us.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the connection; see [`Link::run`].
#[derive(Debug)]
pub struct Link {
    handle: NodeHandle,
    address: ControlAddress,
    state: watch::Sender<NodeState>,
    turn_urls: watch::Sender<Arc<[String]>>,
    /// Of what our TURN credentials are minted with.
    secret_id: Option<String>,
    lease: Lease,
    incarnation: Option<String>,
    updates: mpsc::Sender<NodeUpdate>,
}

impl NodeHandle {
    /// Whether commands have a chance now, and whenever that changes.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// Where it relays, as it said last.
    pub fn turn_urls(&self) -> watch::Receiver<Arc<[String]>> {
        self.turn_urls.clone()
    }

    /// TURN allocations there are.
    pub async fn allocations(&self) -> Result<Vec<wire::Allocation>, NodeError> {
        let mut client = self.client.clone();
        let request = timed(wire::ListAllocationsRequest {});
        let listed = bounded(client.list_allocations(request)).await?;
        Ok(listed.allocations)
    }

    /// Does one command.
    pub async fn call(&self, call: Call) -> Result<Done, NodeError> {
        let mut client = self.client.clone();
        let nothing = |_| Done::Nothing;
        match call {
            Call::PutPublish(request) => {
                let answer = |reply: wire::PutPublishReply| Done::Answer {
                    sdp: reply.answer_sdp,
                    tracks: reply.tracks,
                };
                bounded(client.put_publish(timed(request)))
                    .await
                    .map(answer)
            }
            Call::PutSubscribe(request) => bounded(client.put_subscribe(timed(request)))
                .await
                .map(|_| Done::Nothing),
            Call::PutSubscriptions(request) => bounded(client.put_subscriptions(timed(request)))
                .await
                .map(|_| Done::Nothing),
            Call::PutAnswer(request) => bounded(client.put_answer(timed(request)))
                .await
                .map(|_| Done::Nothing),
            Call::AddCandidate(request) => bounded(client.add_candidate(timed(request)))
                .await
                .map(|_| Done::Nothing),
            Call::Annotate(request) => bounded(client.annotate(timed(request)))
                .await
                .map(|_| Done::Nothing),
            Call::CloseSession(request) => bounded(client.close_session(timed(request)))
                .await
                .map(nothing),
        }
    }

    /// These sessions are kept by the lease of `owner`.
    pub async fn take(&self, owner: &str, sessions: Vec<SessionId>) -> Result<(), NodeError> {
        let mut client = self.client.clone();
        let sessions = sessions.iter().map(|session| session.as_str().to_owned());
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
            // One of a version before leases: its sessions end with their clients alone.
            Ok(_) | Err(NodeError::Unsupported(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Who the data plane is and how busy its shards are.
    pub async fn node(&self) -> Result<wire::Node, NodeError> {
        let mut client = self.client.clone();
        bounded(client.get_node(timed(wire::GetNodeRequest {}))).await
    }

    /// What it holds of these sessions; of all, if none is named.
    pub async fn sessions(&self, sessions: Vec<SessionId>) -> Result<wire::State, NodeError> {
        let mut client = self.client.clone();
        let sessions = sessions.iter().map(|session| session.as_str().to_owned());
        let request = wire::GetStateRequest {
            sessions: sessions.collect(),
        };
        bounded(client.get_state(timed(request))).await
    }
}

impl Link {
    /// A link to `address`, not connected yet. It renews `lease`, and warns when the data plane does not know the TURN secret
    /// of `secret_id`. Fails for an address that is no URI.
    pub fn new(
        address: ControlAddress,
        (lease, secret_id): (Lease, Option<String>),
        updates: mpsc::Sender<NodeUpdate>,
    ) -> Result<(Self, NodeHandle), tonic::transport::Error> {
        let uri = match &address {
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
        let (turn_urls, told_urls) = watch::channel(Arc::from([]));
        let handle = NodeHandle {
            client: client.max_decoding_message_size(REPLY_BYTES),
            state: receiver,
            turn_urls: told_urls,
        };
        let link = Self {
            handle: handle.clone(),
            address,
            state,
            turn_urls,
            secret_id,
            lease,
            incarnation: None,
            updates,
        };
        Ok((link, handle))
    }

    /// Runs until nobody wants the updates any more.
    pub async fn run(mut self) {
        let (first_pause, longest_pause) = RECONNECT_PAUSE;
        let started = clock::now();
        let mut pause = first_pause;
        let mut complained = false;
        while !self.updates.is_closed() {
            let ended = self.follow().await;
            if *self.state.borrow() == NodeState::Connected {
                pause = first_pause;
                complained = false;
            }
            self.state.send_replace(NodeState::Connecting);
            // One that is just being started is no news.
            let is_news = self.incarnation.is_some() || started.elapsed() >= START_PATIENCE;
            if !complained && is_news {
                tracing::warn!(address = ?self.address, reason = %ended, "data plane: not connected, trying on");
                complained = true;
            }
            if self.incarnation.is_some() && self.nobody_listens().await {
                self.incarnation = None;
                let _ = self.updates.send(NodeUpdate::Lost).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest_pause);
        }
    }

    /// Connects, reads the state, and passes events on until the stream ends.
    async fn follow(&mut self) -> NodeError {
        let mut client = self.handle.client.clone();
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
        // First: it gives the leases of servers before us their whole time again, if no server was connected.
        if let Err(error) = self.handle.renew(&self.lease).await {
            return error;
        }
        let state = match self.handle.sessions(Vec::new()).await {
            Ok(state) if state.incarnation == hello.incarnation => state,
            Ok(_) => return NodeError::Unavailable("it restarted meanwhile".to_owned()),
            Err(error) => return error,
        };
        match self.handle.node().await {
            Ok(node) => {
                self.compare_secrets(&node);
                self.turn_urls.send_replace(node.turn_urls.into());
            }
            Err(error) => return error,
        }
        let incarnation = Some(state.incarnation);
        if self.incarnation.is_some() && self.incarnation != incarnation {
            let _ = self.updates.send(NodeUpdate::Lost).await;
        }
        self.incarnation = incarnation;
        let sessions = state.sessions.len();
        tracing::info!(incarnation = %hello.incarnation, sessions, "data plane: connected");
        let _ = self.updates.send(NodeUpdate::Synced(state.sessions)).await;
        self.state.send_replace(NodeState::Connected);
        tokio::select! {
            error = self.renew_on() => error,
            error = self.pass_on(&mut events) => error,
        }
    }

    /// Renews the lease until that fails.
    async fn renew_on(&self) -> NodeError {
        loop {
            tokio::time::sleep(LEASE_RENEWAL).await;
            if let Err(error) = self.handle.renew(&self.lease).await {
                return error;
            }
        }
    }

    /// Passes events on until the stream ends.
    async fn pass_on(&self, events: &mut tonic::Streaming<wire::Event>) -> NodeError {
        loop {
            match next_event(events, Duration::MAX).await {
                Ok(event) => {
                    if self.updates.send(NodeUpdate::Event(event)).await.is_err() {
                        return NodeError::Unavailable("we are ending".to_owned());
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Says what clients could only tell by not getting through.
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

    /// Certain that the process is dead: a unix socket nobody listens on. Over TCP only a new
    /// incarnation is proof, because a data plane out of our reach may well be in the clients'.
    async fn nobody_listens(&self) -> bool {
        let ControlAddress::Unix(path) = &self.address else {
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
        // An event of a newer schema has no meaning here.
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
