//! Commands to nodes, their results, and events of sessions.

use super::step::{Outcome, SessionEvent};
use super::world::{Call, World, node_id};
use crate::fleet::{Command, NodeError, NodeEvent};
use crate::ids::{Half, NodeId, SessionId};

impl World {
    pub(super) fn call(&mut self, node: &NodeId, session: SessionId, command: Command) {
        let node = usize::from(*node != node_id(0));
        let incarnation = self.nodes[node].incarnation;
        let is_same = |call: &Call| call.session == session && call.incarnation == incarnation;
        assert!(
            !self.calls.iter().any(is_same),
            "two commands to '{session}' at a time"
        );
        self.calls.push(Call {
            node,
            incarnation,
            session,
            command,
        });
    }

    pub(super) fn reply(&mut self, index: usize, outcome: Outcome) {
        if self.calls.is_empty() {
            return;
        }
        let index = index % self.calls.len();
        let call = self.calls.remove(index);
        let node = &mut self.nodes[call.node];
        let had_session = node.session_by_id.contains_key(&call.session);
        let unavailable = || Err(NodeError::Unavailable("lost".to_owned()));
        let result = match outcome {
            _ if call.incarnation != node.incarnation => unavailable(),
            Outcome::Done => node.execute(call.command),
            Outcome::Lost => node.execute(call.command).and_then(|_| unavailable()),
            Outcome::Unavailable => unavailable(),
            Outcome::Refused => Err(NodeError::Invalid("no".to_owned())),
            Outcome::Full => Err(NodeError::Full("full".to_owned())),
        };
        if had_session && !node.session_by_id.contains_key(&call.session) {
            let session = call.session.clone();
            let event = NodeEvent::Closed {
                session,
                failure: None,
            };
            self.room
                .handle_node_event(&node_id(call.node), event, self.now);
            self.drain();
        }
        self.room.handle_replied(&call.session, result, self.now);
    }

    pub(super) fn sync(&mut self, node: usize) {
        let report = self.nodes[node].report();
        self.room
            .handle_node_synced(&node_id(node), report, self.now);
    }

    /// Something happens to a session of a node.
    pub(super) fn session_event(&mut self, index: usize, event: SessionEvent) {
        let ids: Vec<(usize, SessionId)> = (0..)
            .zip(&self.nodes)
            .flat_map(|(node, known)| known.session_by_id.keys().map(move |id| (node, id.clone())))
            .collect();
        let Some((node, session)) = ids.get(index % ids.len().max(1)).cloned() else {
            return;
        };
        let is_subscribe = session.half == Half::Subscribe;
        let event = match event {
            SessionEvent::Connected => {
                let held = self.nodes[node]
                    .session_by_id
                    .get_mut(&session)
                    .expect("listed");
                held.connected_shard = Some(3);
                NodeEvent::Connected { session, shard: 3 }
            }
            SessionEvent::Closed => {
                self.nodes[node].session_by_id.remove(&session);
                let failure = Some("the path was lost".to_owned());
                NodeEvent::Closed { session, failure }
            }
            SessionEvent::Offer if is_subscribe => {
                let offer = self.nodes[node].offer(&session).expect("listed");
                NodeEvent::Offer { session, offer }
            }
            SessionEvent::Layer { is_rejected } if is_subscribe => {
                let held = &self.nodes[node].session_by_id[&session];
                let Some((track, _)) = held.subscriptions.first() else {
                    return;
                };
                NodeEvent::Layer {
                    track: track.clone(),
                    rid: String::new(),
                    is_active: !is_rejected,
                    reason: is_rejected.then(|| "rejected".to_owned()),
                    session,
                }
            }
            SessionEvent::Offer | SessionEvent::Layer { .. } => return,
        };
        self.room.handle_node_event(&node_id(node), event, self.now);
    }
}
