//! A simulated data plane without media. It records commands, answers them, and sends the events
//! that a test defines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use spillway_controlplane::entropy;
use spillway_wire::dataplane as wire;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use wire::data_plane_server::{DataPlane, DataPlaneServer};

use crate::client::{PATIENCE, own_runtime};

/// State of the simulated data plane, shared with the test.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) session_by_name: BTreeMap<String, wire::Session>,
    pub(crate) calls: Vec<&'static str>,
    pub(crate) candidates: Vec<String>,
    pub(crate) closed: Vec<String>,
    /// The owner of the latest renewed lease.
    pub(crate) owner: String,
    /// Maximum number of sessions.
    pub(crate) limit: Option<usize>,
}

#[derive(Clone)]
struct Service {
    incarnation: String,
    held: Arc<Mutex<Held>>,
    events: broadcast::Sender<wire::Event>,
}

/// A running simulated data plane. Dropping it simulates the end of the process.
pub(crate) struct FakeNode {
    service: Service,
    /// Its own runtime: all its tasks end with it.
    runtime: Option<Runtime>,
    path: PathBuf,
}

impl FakeNode {
    pub(crate) fn start(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let service = Service {
            incarnation: entropy::alphanumeric(8),
            held: Arc::default(),
            events: broadcast::channel(1024).0,
        };
        let runtime = own_runtime();
        {
            let _entered = runtime.enter();
            let listener = UnixListener::bind(path).unwrap();
            let grpc = DataPlaneServer::new(service.clone());
            let server = tonic::transport::Server::builder().add_service(grpc);
            let server = server.serve_with_incoming(UnixListenerStream::new(listener));
            tokio::spawn(async move { server.await.unwrap() });
        }
        Self {
            service,
            runtime: Some(runtime),
            path: path.to_owned(),
        }
    }

    /// Reads or changes the state.
    pub(crate) fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.service.held.lock().unwrap())
    }

    /// Waits until `wanted` is true for the state.
    pub(crate) async fn until(&self, wanted: impl Fn(&Held) -> bool) {
        let waiting = async {
            while !self.held(|held| wanted(held)) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited
            .unwrap_or_else(|_| panic!("calls so far: {:?}", self.held(|held| held.calls.clone())));
    }

    pub(crate) fn send_event(&self, event: wire::event::Event) {
        let event = Some(event);
        let _ = self.service.events.send(wire::Event { event });
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Service {
    fn offer(&self, session: &str, revision: u64) {
        let mut held = self.held.lock().unwrap();
        let Some(state) = held.session_by_name.get_mut(session) else {
            return;
        };
        let mids = state.subscriptions.iter().enumerate();
        let offer = wire::Offer {
            session: session.to_owned(),
            revision,
            sdp: format!("offer {revision}"),
            mids: mids
                .map(|(mid, subscription)| wire::MidTrack {
                    mid: mid.to_string(),
                    track: subscription.track.clone(),
                })
                .collect(),
        };
        state.revision = revision;
        state.outstanding_offer = Some(offer.clone());
        drop(held);
        let event = Some(wire::event::Event::Offer(offer));
        let _ = self.events.send(wire::Event { event });
    }

    fn room_for_one_more(&self, session: &str) -> Result<(), Status> {
        let held = self.held.lock().unwrap();
        let is_new = !held.session_by_name.contains_key(session);
        match held.limit {
            Some(limit) if is_new && held.session_by_name.len() >= limit => {
                Err(Status::resource_exhausted("sessions of the node: too many"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note(&self, call: &'static str) -> std::sync::MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap();
        held.calls.push(call);
        held
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DataPlane for Service {
    async fn get_node(&self, _: Request<wire::GetNodeRequest>) -> Reply<wire::Node> {
        Ok(Response::new(wire::Node {
            node: "fake".to_owned(),
            incarnation: self.incarnation.clone(),
            version: "0".to_owned(),
            addresses: vec!["127.0.0.1:9".to_owned()],
            uptime_ms: 1500,
            shards: vec![wire::Shard {
                packets_in: 7,
                ..wire::Shard::default()
            }],
            max_sessions: 10,
            turn_urls: vec!["turn:127.0.0.1:3478?transport=udp".to_owned()],
            turn_secret_ids: Vec::new(),
        }))
    }

    async fn renew_lease(
        &self,
        call: Request<wire::RenewLeaseRequest>,
    ) -> Reply<wire::RenewLeaseReply> {
        let request = call.into_inner();
        self.held.lock().unwrap().owner = request.owner;
        Ok(Response::new(wire::RenewLeaseReply {}))
    }

    async fn take_sessions(
        &self,
        call: Request<wire::TakeSessionsRequest>,
    ) -> Reply<wire::TakeSessionsReply> {
        let request = call.into_inner();
        let mut held = self.note("take_sessions");
        for session in &request.sessions {
            if let Some(session) = held.session_by_name.get_mut(session) {
                session.owner = request.owner.clone();
            }
        }
        Ok(Response::new(wire::TakeSessionsReply {}))
    }

    async fn list_allocations(
        &self,
        _: Request<wire::ListAllocationsRequest>,
    ) -> Reply<wire::ListAllocationsReply> {
        Ok(Response::new(wire::ListAllocationsReply {
            allocations: vec![wire::Allocation {
                transport: "udp".to_owned(),
                ..wire::Allocation::default()
            }],
        }))
    }

    async fn get_state(&self, _: Request<wire::GetStateRequest>) -> Reply<wire::State> {
        let held = self.held.lock().unwrap();
        Ok(Response::new(wire::State {
            incarnation: self.incarnation.clone(),
            sessions: held.session_by_name.values().cloned().collect(),
        }))
    }

    async fn put_publish(
        &self,
        request: Request<wire::PutPublishRequest>,
    ) -> Reply<wire::PutPublishReply> {
        let request = request.into_inner();
        if request.offer_sdp == "refuse me" {
            return Err(Status::invalid_argument("this is no SDP"));
        }
        self.room_for_one_more(&request.session)?;
        let published = |track: &wire::Track| wire::PublishedTrack {
            track: track.track.clone(),
            rids: track
                .layers
                .iter()
                .map(|layer| layer.rid.clone())
                .filter(|rid| !rid.starts_with("lost"))
                .collect(),
        };
        let playing = request
            .tracks
            .iter()
            .filter(|track| !track.mid.starts_with("ghost"));
        let tracks = playing.map(published).collect();
        let session = wire::Session {
            session: request.session.clone(),
            role: wire::Role::Publish.into(),
            annotation: request.annotation,
            connected: true,
            shard: Some(0),
            tracks: request.tracks,
            owner: request.owner,
            ..wire::Session::default()
        };
        self.note("put_publish")
            .session_by_name
            .insert(request.session, session);
        let answer_sdp = format!("answer to {}", request.offer_sdp);
        Ok(Response::new(wire::PutPublishReply { answer_sdp, tracks }))
    }

    async fn put_subscribe(
        &self,
        request: Request<wire::PutSubscribeRequest>,
    ) -> Reply<wire::PutSubscribeReply> {
        let request = request.into_inner();
        self.room_for_one_more(&request.session)?;
        let session = wire::Session {
            session: request.session.clone(),
            role: wire::Role::Subscribe.into(),
            annotation: request.annotation,
            owner: request.owner,
            ..wire::Session::default()
        };
        self.note("put_subscribe")
            .session_by_name
            .entry(request.session)
            .or_insert(session);
        Ok(Response::new(wire::PutSubscribeReply {}))
    }

    async fn put_subscriptions(
        &self,
        request: Request<wire::PutSubscriptionsRequest>,
    ) -> Reply<wire::PutSubscriptionsReply> {
        let request = request.into_inner();
        let mut held = self.note("put_subscriptions");
        let Some(session) = held.session_by_name.get_mut(&request.session) else {
            return Err(Status::not_found("no such session"));
        };
        let subscriptions = &mut session.subscriptions;
        let put = request.put.iter().map(|wish| &wish.track);
        let changed: Vec<_> = put.chain(&request.remove).cloned().collect();
        subscriptions.retain(|subscription| !changed.contains(&subscription.track));
        subscriptions.extend(request.put.into_iter().map(|wish| wire::Subscription {
            track: wish.track,
            wish: wish.wish,
            ..wire::Subscription::default()
        }));
        let revision = session.revision + 1;
        drop(held);
        self.offer(&request.session, revision);
        Ok(Response::new(wire::PutSubscriptionsReply {}))
    }

    async fn put_answer(
        &self,
        request: Request<wire::PutAnswerRequest>,
    ) -> Reply<wire::PutAnswerReply> {
        let request = request.into_inner();
        let mut held = self.note("put_answer");
        match held.session_by_name.get_mut(&request.session) {
            Some(session) if session.revision == request.revision => {
                session.outstanding_offer = None;
                Ok(Response::new(wire::PutAnswerReply {}))
            }
            Some(_) => Err(Status::failed_precondition("not the outstanding offer")),
            None => Err(Status::not_found("no such session")),
        }
    }

    async fn add_candidate(
        &self,
        request: Request<wire::AddCandidateRequest>,
    ) -> Reply<wire::AddCandidateReply> {
        let candidate = request.into_inner().candidate;
        if !candidate.starts_with("candidate:") {
            return Err(Status::invalid_argument("this is no candidate"));
        }
        self.note("add_candidate").candidates.push(candidate);
        Ok(Response::new(wire::AddCandidateReply {}))
    }

    async fn annotate(
        &self,
        request: Request<wire::AnnotateRequest>,
    ) -> Reply<wire::AnnotateReply> {
        let request = request.into_inner();
        let mut held = self.note("annotate");
        let session = held.session_by_name.get_mut(&request.session);
        let tracks = session.map(|session| &mut session.tracks);
        for track in tracks.into_iter().flatten() {
            if track.track == request.track {
                track.muted = request.muted.unwrap_or(track.muted);
            }
        }
        Ok(Response::new(wire::AnnotateReply {}))
    }

    async fn close_session(
        &self,
        request: Request<wire::CloseSessionRequest>,
    ) -> Reply<wire::CloseSessionReply> {
        let session = request.into_inner().session;
        let mut held = self.note("close_session");
        held.session_by_name.remove(&session);
        held.closed.push(session);
        Ok(Response::new(wire::CloseSessionReply {}))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

    async fn watch_events(
        &self,
        _: Request<wire::WatchEventsRequest>,
    ) -> Reply<Self::WatchEventsStream> {
        let hello = wire::Hello {
            incarnation: self.incarnation.clone(),
        };
        let hello = wire::Event {
            event: Some(wire::event::Event::Hello(hello)),
        };
        let events = BroadcastStream::new(self.events.subscribe());
        let events = events.map(|event| event.map_err(|_| Status::data_loss("too slow")));
        let all = tokio_stream::once(Ok(hello)).chain(events);
        Ok(Response::new(Box::pin(all)))
    }
}
