//! Calls of servers to a node, in the place of gRPC.

use spillway_controlplane::fleet::convert::Request as CommandRequest;
use spillway_dataplane::control::Request;
use spillway_dataplane::peer::command::CommandResult;
use tokio::sync::oneshot;

use super::pending::{CallId, NodeCall, NodeReply, NodeResult, Pending, Waiting};
use super::state::Node;
use crate::clock::Time;

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
