//! Calls of servers to a node, as values, in the place of gRPC.

use spillway_controlplane::fleet::convert::{self, Request as CommandRequest};
use spillway_controlplane::fleet::{Done, NodeError};
use spillway_dataplane::control::{Request, grpc};
use spillway_dataplane::peer::command::{AnsweredTrack, CommandError, CommandReply, CommandResult};
use spillway_wire::dataplane as proto;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Node, StreamId};
use crate::clock::Time;

/// Number of a call, given by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A call to a node.
pub enum NodeCall {
    /// A command for a session.
    Command(CommandRequest),
    /// `RenewLease` of the schema.
    RenewLease(proto::RenewLeaseRequest),
    /// `TakeSessions` of the schema.
    TakeSessions(proto::TakeSessionsRequest),
    /// `GetState` of the schema.
    State(proto::GetStateRequest),
    /// `GetNode` of the schema.
    Describe,
    /// `WatchEvents` of the schema: the node sends events as this stream.
    Watch(StreamId),
}

/// Reply to a call.
#[derive(Debug)]
pub enum NodeReply {
    /// Result of a command.
    Done(Done),
    /// State of the wanted sessions.
    State(proto::State),
    /// Description of the node.
    Node(Box<proto::Node>),
    /// First event of a stream: the node's incarnation.
    Hello(String),
}

/// Result of a call.
pub type NodeResult = Result<NodeReply, NodeError>;

/// A call that waits for its result.
pub(super) struct Pending {
    id: CallId,
    waiting: Waiting,
}

enum Waiting {
    Command(oneshot::Receiver<CommandResult>),
    State(
        oneshot::Receiver<Result<proto::State, CommandError>>,
        Vec<String>,
    ),
    Node(oneshot::Receiver<proto::Node>),
    Known(Option<NodeReply>),
}

impl Node {
    /// Handles a call of a server. The result comes from [`Node::poll_reply`].
    pub fn call(&mut self, id: CallId, call: NodeCall, now: Time) {
        let (sender, reply) = oneshot::channel();
        let request = match call {
            NodeCall::Command(command) => of_command(command, sender),
            NodeCall::RenewLease(renew) => Request::RenewLease(renew, sender),
            NodeCall::TakeSessions(take) => Request::TakeSessions(take, sender),
            NodeCall::State(wanted) => {
                let (sender, state) = oneshot::channel();
                let waiting = Waiting::State(state, wanted.sessions);
                return self.ask(id, Request::State(sender), waiting, now);
            }
            NodeCall::Describe => {
                let (sender, node) = oneshot::channel();
                return self.ask(id, Request::Node(sender), Waiting::Node(node), now);
            }
            NodeCall::Watch(stream) => {
                let events = self.control.events().subscribe();
                self.watchers.insert(stream, events);
                let hello = NodeReply::Hello(self.control.incarnation().to_owned());
                let waiting = Waiting::Known(Some(hello));
                return self.pending.push(Pending { id, waiting });
            }
        };
        self.ask(id, request, Waiting::Command(reply), now);
    }

    fn ask(&mut self, id: CallId, request: Request, waiting: Waiting, now: Time) {
        self.control.on_request(request, now.instant());
        self.pending.push(Pending { id, waiting });
    }

    /// The next result of a call.
    pub fn poll_reply(&mut self) -> Option<(CallId, NodeResult)> {
        for index in 0..self.pending.len() {
            if let Some(result) = self.pending[index].waiting.poll() {
                return Some((self.pending.remove(index).id, result));
            }
        }
        None
    }
}

impl Waiting {
    fn poll(&mut self) -> Option<NodeResult> {
        let refused = |error: CommandError| NodeError::from(grpc::status(error));
        match self {
            Waiting::Command(reply) => {
                let result = received(reply.try_recv())?;
                Some(match result.and_then(|result| result.map_err(refused)) {
                    Ok(CommandReply::Answer(answered)) => {
                        let published = |track: AnsweredTrack| proto::PublishedTrack {
                            track: track.id.to_string(),
                            rids: track.rids,
                        };
                        Ok(NodeReply::Done(convert::answer(proto::PutPublishReply {
                            answer_sdp: answered.sdp,
                            tracks: answered.tracks.into_iter().map(published).collect(),
                        })))
                    }
                    Ok(CommandReply::Done) => Ok(NodeReply::Done(Done::Nothing)),
                    Err(error) => Err(error),
                })
            }
            Waiting::State(reply, wanted) => {
                let result = received(reply.try_recv())?;
                let state = result.and_then(|state| state.map_err(refused));
                Some(state.map(|mut state| {
                    let is_wanted = |session: &proto::Session| {
                        wanted.is_empty() || wanted.contains(&session.session)
                    };
                    state.sessions.retain(is_wanted);
                    NodeReply::State(state)
                }))
            }
            Waiting::Node(reply) => {
                let result = received(reply.try_recv())?;
                Some(result.map(|node| NodeReply::Node(Box::new(node))))
            }
            Waiting::Known(reply) => reply.take().map(Ok),
        }
    }
}

/// The value of a channel; `None` while it is empty.
fn received<T>(value: Result<T, TryRecvError>) -> Option<Result<T, NodeError>> {
    match value {
        Ok(value) => Some(Ok(value)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => {
            let said = "the control thread gave no answer".to_owned();
            Some(Err(NodeError::Unavailable(said)))
        }
    }
}

fn of_command(command: CommandRequest, reply: oneshot::Sender<CommandResult>) -> Request {
    match command {
        CommandRequest::PutPublish(put) => Request::PutPublish(put, reply),
        CommandRequest::PutSubscribe(put) => Request::PutSubscribe(put, reply),
        CommandRequest::PutSubscriptions(put) => Request::PutSubscriptions(put, reply),
        CommandRequest::PutAnswer(put) => Request::PutAnswer(put, reply),
        CommandRequest::AddCandidate(add) => Request::AddCandidate(add, reply),
        CommandRequest::Annotate(note) => Request::Annotate(note, reply),
        CommandRequest::CloseSession(end) => Request::Close(end, reply),
    }
}
