//! Calls of servers to a node, as values, and their results.

use spillway_controlplane::fleet::convert::{self, Request as CommandRequest};
use spillway_controlplane::fleet::{Done, NodeError};
use spillway_dataplane::control::grpc;
use spillway_dataplane::peer::command::{AnsweredTrack, CommandError, CommandReply, CommandResult};
use spillway_wire::dataplane as proto;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// A stream of events to a server, numbered by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

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
    pub(super) id: CallId,
    pub(super) waiting: Waiting,
}

/// What a call waits for.
pub(super) enum Waiting {
    Command(oneshot::Receiver<CommandResult>),
    State(
        oneshot::Receiver<Result<proto::State, CommandError>>,
        Vec<String>,
    ),
    Node(oneshot::Receiver<proto::Node>),
    Known(Option<NodeReply>),
}

impl Waiting {
    /// The result, if it has come.
    pub(super) fn poll(&mut self) -> Option<NodeResult> {
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
