//! Calls of a server to the store and to nodes. A call is a future; the world carries it to the other side and brings back the
//! result. Timers are futures too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use spillway_controlplane::fleet::convert;
use spillway_controlplane::fleet::{Done, HeldSession, NodeError};
use spillway_controlplane::history::{Append, Ephemeral, Missed, Participant};
use spillway_controlplane::ids::{Epoch, NodeId, ParticipantId, RoomName, SessionId};
use spillway_controlplane::limits::CALL_TIME;
use spillway_controlplane::store::{Appended, Opened, StoreError};
use spillway_wire::dataplane as proto;
use tokio::sync::oneshot;

use crate::clock::Time;
use crate::node::{CallId, NodeCall, NodeReply, NodeResult};

/// A call to the store, which answers with [`StoreReply`].
#[derive(Debug)]
pub enum StoreCall {
    /// Opens a room, as [`spillway_controlplane::store::Store::open`] does.
    Open(RoomName),
    /// Appends an event, as [`spillway_controlplane::store::Store::append_event`] does.
    Append(RoomName, Box<Append>),
    /// Sends a message, as [`spillway_controlplane::store::Store::publish`] does.
    Publish(RoomName, Ephemeral),
    /// Reads events, as [`spillway_controlplane::store::Store::since`] does.
    Since(RoomName, Epoch, u64),
    /// [`spillway_controlplane::store::Store::touch`], with the presence time of the control plane.
    Touch(RoomName, Vec<ParticipantId>),
    /// Lists absent participants, as [`spillway_controlplane::store::Store::absent`] does.
    Absent(RoomName),
    /// Takes over a participant, as [`spillway_controlplane::store::Store::claim`] does.
    Claim(RoomName, ParticipantId),
    /// Closes a room, as [`spillway_controlplane::store::Store::close`] does.
    Close(RoomName),
}

/// Result of a call to the store.
#[derive(Debug)]
pub enum StoreReply {
    /// The room is open.
    Opened(Box<Opened>),
    /// The event is appended.
    Appended(Appended),
    /// The events after an offset.
    Missed(Missed),
    /// Participants whose presence has expired.
    Absent(Vec<Participant>),
    /// The store did what was asked.
    Done,
}

/// Result of a call to the store.
pub type StoreResult = Result<StoreReply, StoreError>;

/// A call that leaves the server.
pub enum Call {
    /// A call to the store of all servers.
    Store(CallId, StoreCall),
    /// A call to the node with this name.
    Node(CallId, NodeId, NodeCall),
}

/// The calls and timers of one server.
#[derive(Default)]
pub(super) struct Net {
    now: Cell<Time>,
    next_id: Cell<u64>,
    calls: RefCell<VecDeque<Call>>,
    store: RefCell<BTreeMap<CallId, oneshot::Sender<StoreResult>>>,
    nodes: RefCell<BTreeMap<CallId, oneshot::Sender<NodeResult>>>,
    /// Times at which tasks must be polled.
    wakes: RefCell<BTreeMap<Time, u32>>,
}

impl Net {
    pub(super) fn set_now(&self, now: Time) {
        self.now.set(now);
        self.wakes.borrow_mut().retain(|at, _| *at > now);
    }

    pub(super) fn now(&self) -> Time {
        self.now.get()
    }

    /// Time of the next timer.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.wakes.borrow().first_key_value().map(|(at, _)| *at)
    }

    /// The next call to carry to its destination.
    pub(super) fn poll_call(&self) -> Option<Call> {
        self.calls.borrow_mut().pop_front()
    }

    /// Number of calls without a result.
    pub(super) fn open_calls(&self) -> usize {
        self.store.borrow().len() + self.nodes.borrow().len()
    }

    pub(super) fn on_store_result(&self, id: CallId, result: StoreResult) {
        if let Some(sender) = self.store.borrow_mut().remove(&id) {
            // The caller may have given up.
            let _ = sender.send(result);
        }
    }

    pub(super) fn on_node_result(&self, id: CallId, result: NodeResult) {
        if let Some(sender) = self.nodes.borrow_mut().remove(&id) {
            let _ = sender.send(result);
        }
    }

    /// Calls the store and waits for its answer.
    pub(super) fn store(&self, call: StoreCall) -> impl Future<Output = StoreResult> + use<> {
        let id = self.new_id();
        let (sender, result) = oneshot::channel();
        self.store.borrow_mut().insert(id, sender);
        self.calls.borrow_mut().push_back(Call::Store(id, call));
        async move {
            let lost = |_| Err(StoreError::Unavailable("the connection broke".to_owned()));
            result.await.unwrap_or_else(lost)
        }
    }

    /// Calls a node, and waits for its reply at most [`CALL_TIME`].
    pub(super) fn node(
        self: &Rc<Self>,
        node: &NodeId,
        call: NodeCall,
    ) -> impl Future<Output = NodeResult> + use<> {
        let id = self.new_id();
        let (sender, mut result) = oneshot::channel();
        self.nodes.borrow_mut().insert(id, sender);
        let call = Call::Node(id, node.clone(), call);
        self.calls.borrow_mut().push_back(call);
        let (net, until) = (Rc::clone(self), self.wake_in(CALL_TIME));
        poll_fn(move |_| match result.try_recv() {
            Ok(result) => Poll::Ready(result),
            Err(oneshot::error::TryRecvError::Closed) => {
                let said = "the connection broke".to_owned();
                Poll::Ready(Err(NodeError::Unavailable(said)))
            }
            Err(oneshot::error::TryRecvError::Empty) if net.now() >= until => {
                net.nodes.borrow_mut().remove(&id);
                let said = format!("no answer within {} s", CALL_TIME.as_secs());
                Poll::Ready(Err(NodeError::Unavailable(said)))
            }
            Err(oneshot::error::TryRecvError::Empty) => Poll::Pending,
        })
    }

    /// Sends a command to a node.
    pub(super) async fn command(
        self: Rc<Self>,
        node: NodeId,
        command: convert::Request,
    ) -> Result<Done, NodeError> {
        match self.node(&node, NodeCall::Command(command)).await? {
            NodeReply::Done(done) => Ok(done),
            reply => Err(unexpected(&reply)),
        }
    }

    /// Reads the state of `sessions`, or of all sessions if the list is empty.
    pub(super) async fn sessions(
        self: Rc<Self>,
        node: NodeId,
        sessions: Vec<SessionId>,
    ) -> Result<(String, Vec<HeldSession>), NodeError> {
        let sessions = sessions.iter().map(SessionId::to_string).collect();
        let call = NodeCall::State(proto::GetStateRequest { sessions });
        match self.node(&node, call).await? {
            NodeReply::State(state) => {
                let held = state.sessions.into_iter();
                let held = held.filter_map(|session| convert::session(&node, session));
                Ok((state.incarnation, held.collect()))
            }
            reply => Err(unexpected(&reply)),
        }
    }

    /// Waits until `time` has passed.
    pub(super) fn sleep(self: &Rc<Self>, time: Duration) -> impl Future<Output = ()> + use<> {
        let (net, until) = (Rc::clone(self), self.wake_in(time));
        poll_fn(move |_| match net.now() >= until {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    }

    fn wake_in(&self, time: Duration) -> Time {
        let at = self.now() + time;
        *self.wakes.borrow_mut().entry(at).or_default() += 1;
        at
    }

    fn new_id(&self) -> CallId {
        self.next_id.set(self.next_id.get() + 1);
        CallId(self.next_id.get())
    }
}

pub(super) fn unexpected(reply: &NodeReply) -> NodeError {
    NodeError::Internal(format!("{reply:?} is no answer to this call"))
}

/// The error for an answer of the store to another call.
pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable("the store gave another answer".to_owned())
}
