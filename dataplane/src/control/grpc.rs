//! The gRPC service of the control thread: each call becomes a [`Request`].

use std::collections::HashSet;
use std::pin::Pin;

use spillway_wire::dataplane as proto;
use spillway_wire::dataplane::data_plane_server::DataPlane;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request as Call, Response, Status};

use super::Request;
use crate::peer::command::{Answered, AnsweredTrack, CommandError, CommandReply, CommandResult};

/// Passes gRPC calls to the control thread.
pub(super) struct Service {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<proto::Event>,
    incarnation: String,
}

impl Service {
    /// A service that sends each gRPC call to `requests`.
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        events: broadcast::Sender<proto::Event>,
        incarnation: String,
    ) -> Self {
        Self {
            requests,
            events,
            incarnation,
        }
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Status::unavailable("the data plane is stopping");
        self.requests
            .send(make(reply))
            .await
            .map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    async fn command(
        &self,
        make: impl FnOnce(oneshot::Sender<CommandResult>) -> Request,
    ) -> Result<CommandReply, Status> {
        self.ask(make).await?.map_err(status)
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DataPlane for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<proto::Event, Status>> + Send>>;

    async fn get_node(&self, _: Call<proto::GetNodeRequest>) -> Reply<proto::Node> {
        self.ask(Request::Node).await.map(Response::new)
    }

    async fn get_state(&self, call: Call<proto::GetStateRequest>) -> Reply<proto::State> {
        let wanted: HashSet<String> = call.into_inner().sessions.into_iter().collect();
        let mut state = self.ask(Request::State).await?.map_err(status)?;
        if !wanted.is_empty() {
            state
                .sessions
                .retain(|session| wanted.contains(&session.session));
        }
        Ok(Response::new(state))
    }

    async fn put_publish(
        &self,
        call: Call<proto::PutPublishRequest>,
    ) -> Reply<proto::PutPublishReply> {
        let request = call.into_inner();
        match self
            .command(|reply| Request::PutPublish(request, reply))
            .await?
        {
            CommandReply::Answer(Answered { sdp, tracks }) => {
                let published = |track: AnsweredTrack| proto::PublishedTrack {
                    track: track.id.to_string(),
                    rids: track.rids,
                };
                Ok(Response::new(proto::PutPublishReply {
                    answer_sdp: sdp,
                    tracks: tracks.into_iter().map(published).collect(),
                }))
            }
            CommandReply::Done => Err(Status::internal("an offer was not answered")),
        }
    }

    async fn put_subscribe(
        &self,
        call: Call<proto::PutSubscribeRequest>,
    ) -> Reply<proto::PutSubscribeReply> {
        let request = call.into_inner();
        self.command(|reply| Request::PutSubscribe(request, reply))
            .await?;
        Ok(Response::new(proto::PutSubscribeReply {}))
    }

    async fn put_subscriptions(
        &self,
        call: Call<proto::PutSubscriptionsRequest>,
    ) -> Reply<proto::PutSubscriptionsReply> {
        let request = call.into_inner();
        self.command(|reply| Request::PutSubscriptions(request, reply))
            .await?;
        Ok(Response::new(proto::PutSubscriptionsReply {}))
    }

    async fn put_answer(
        &self,
        call: Call<proto::PutAnswerRequest>,
    ) -> Reply<proto::PutAnswerReply> {
        let request = call.into_inner();
        self.command(|reply| Request::PutAnswer(request, reply))
            .await?;
        Ok(Response::new(proto::PutAnswerReply {}))
    }

    async fn add_candidate(
        &self,
        call: Call<proto::AddCandidateRequest>,
    ) -> Reply<proto::AddCandidateReply> {
        let request = call.into_inner();
        self.command(|reply| Request::AddCandidate(request, reply))
            .await?;
        Ok(Response::new(proto::AddCandidateReply {}))
    }

    async fn annotate(&self, call: Call<proto::AnnotateRequest>) -> Reply<proto::AnnotateReply> {
        let request = call.into_inner();
        self.command(|reply| Request::Annotate(request, reply))
            .await?;
        Ok(Response::new(proto::AnnotateReply {}))
    }

    async fn close_session(
        &self,
        call: Call<proto::CloseSessionRequest>,
    ) -> Reply<proto::CloseSessionReply> {
        let request = call.into_inner();
        self.command(|reply| Request::Close(request, reply)).await?;
        Ok(Response::new(proto::CloseSessionReply {}))
    }

    async fn renew_lease(
        &self,
        call: Call<proto::RenewLeaseRequest>,
    ) -> Reply<proto::RenewLeaseReply> {
        let request = call.into_inner();
        self.command(|reply| Request::RenewLease(request, reply))
            .await?;
        Ok(Response::new(proto::RenewLeaseReply {}))
    }

    async fn take_sessions(
        &self,
        call: Call<proto::TakeSessionsRequest>,
    ) -> Reply<proto::TakeSessionsReply> {
        let request = call.into_inner();
        self.command(|reply| Request::TakeSessions(request, reply))
            .await?;
        Ok(Response::new(proto::TakeSessionsReply {}))
    }

    async fn list_allocations(
        &self,
        _: Call<proto::ListAllocationsRequest>,
    ) -> Reply<proto::ListAllocationsReply> {
        let listed = self.ask(Request::Allocations).await?;
        listed.map(Response::new).map_err(status)
    }

    async fn watch_events(
        &self,
        _: Call<proto::WatchEventsRequest>,
    ) -> Reply<Self::WatchEventsStream> {
        let hello = proto::Hello {
            incarnation: self.incarnation.clone(),
        };
        let hello = proto::Event {
            event: Some(proto::event::Event::Hello(hello)),
        };
        let events = BroadcastStream::new(self.events.subscribe()).map(|event| {
            event.map_err(|BroadcastStreamRecvError::Lagged(missed)| {
                Status::data_loss(format!("{missed} events were missed: read the state again"))
            })
        });
        Ok(Response::new(Box::pin(
            tokio_stream::once(Ok(hello)).chain(events),
        )))
    }
}

/// The gRPC status of an error.
pub fn status(error: CommandError) -> Status {
    let message = error.to_string();
    match error {
        CommandError::UnknownSession(_) => Status::not_found(message),
        CommandError::WrongRole { .. }
        | CommandError::BadSdp(_)
        | CommandError::BadCandidate(_)
        | CommandError::Invalid(_) => Status::invalid_argument(message),
        CommandError::StaleAnswer { .. } => Status::failed_precondition(message),
        CommandError::TooMany { .. } | CommandError::TooSoon { .. } => {
            Status::resource_exhausted(message)
        }
        CommandError::Unanswered => Status::unavailable(message),
    }
}
