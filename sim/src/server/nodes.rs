//! A server's connections to nodes, as `fleet/connection.rs` keeps them over gRPC: events, state after each connect, leases.

use std::rc::Rc;
use std::sync::Arc;

use spillway_controlplane::fleet::{NodeError, NodeEvent, convert};
use spillway_controlplane::hub::{RoomInput, sessions_by_room};
use spillway_controlplane::ids::{NodeId, RoomName};
use spillway_controlplane::limits::{LEASE_RENEWAL, RECONNECT_PAUSE};
use spillway_controlplane::room::Media;
use spillway_wire::dataplane as proto;

use super::link::{LEASE, LinkEvent, LinkState, NodeLink, ReadNode};
use super::net::{Net, unexpected};
use super::state::Server;
use crate::node::{NodeCall, NodeReply, StreamId};

impl Server {
    /// Does what the connections to nodes have to do at the present time.
    pub(super) fn run_links(&mut self) {
        for event in self.link_tasks.poll() {
            match event {
                LinkEvent::Read(node, stream, Ok(read)) => self.on_read(&node, stream, read),
                LinkEvent::Renewed(_, _, Ok(())) => {}
                LinkEvent::Read(node, stream, Err(_))
                | LinkEvent::Renewed(node, stream, Err(_)) => self.on_broken(&node, stream),
            }
        }
        let now = self.net.now();
        for link in &mut self.links {
            let (net, node, stream) = (Rc::clone(&self.net), link.node.clone(), link.stream);
            let renew = proto::RenewLeaseRequest {
                owner: self.config.owner.clone(),
                time_ms: LEASE.as_millis() as u64,
            };
            match link.state {
                LinkState::Waiting(at) if at <= now => {
                    self.next_stream += 1;
                    link.stream = StreamId(self.next_stream);
                    link.state = LinkState::Reading;
                    let stream = link.stream;
                    self.link_tasks.start(async move {
                        let read = read_node(net, &node, stream, renew).await;
                        LinkEvent::Read(node, stream, read)
                    });
                }
                LinkState::Connected(at) if at <= now => {
                    link.state = LinkState::Connected(now + LEASE_RENEWAL);
                    self.link_tasks.start(async move {
                        let renewed = net.node(&node, NodeCall::RenewLease(renew)).await;
                        LinkEvent::Renewed(node, stream, renewed.map(|_| ()))
                    });
                }
                LinkState::Waiting(_) | LinkState::Reading | LinkState::Connected(_) => {}
            }
        }
    }

    /// An event of a node; of an earlier stream it is ignored.
    pub fn on_node_event(&mut self, node: &NodeId, stream: StreamId, event: proto::event::Event) {
        self.has_input = true;
        let Some(link) = self.link(node).filter(|link| link.stream == stream) else {
            return;
        };
        // Events that come before the state is read are older than the state, or in it.
        match link.state {
            LinkState::Reading => self.early_events.push((node.clone(), stream, event)),
            LinkState::Connected(_) => self.route(node, event),
            LinkState::Waiting(_) => {}
        }
    }

    /// The connection to a node broke.
    pub fn on_broken(&mut self, node: &NodeId, stream: StreamId) {
        self.has_input = true;
        let now = self.net.now();
        if let Some(link) = self.link(node).filter(|link| link.stream == stream) {
            if link.is_connected() {
                link.pause = RECONNECT_PAUSE.0;
            }
            link.state = LinkState::Waiting(now + link.pause);
            link.pause = (link.pause * 2).min(RECONNECT_PAUSE.1);
        }
        self.early_events.retain(|(of, _, _)| of != node);
    }

    /// Streams of events that this server reads, with their nodes.
    pub fn streams(&self) -> impl Iterator<Item = (&NodeId, StreamId)> {
        let links = self.links.iter();
        let open = links.filter(|link| !matches!(link.state, LinkState::Waiting(_)));
        open.map(|link| (&link.node, link.stream))
    }

    fn link(&mut self, node: &NodeId) -> Option<&mut NodeLink> {
        self.links.iter_mut().find(|link| link.node == *node)
    }

    fn on_read(&mut self, node: &NodeId, stream: StreamId, read: ReadNode) {
        let now = self.net.now();
        let Some(link) = self.link(node).filter(|link| link.stream == stream) else {
            return;
        };
        let incarnation = Some(read.incarnation);
        let has_restarted = link.incarnation.is_some() && link.incarnation != incarnation;
        link.incarnation = incarnation;
        link.state = LinkState::Connected(now + LEASE_RENEWAL);
        if has_restarted {
            self.facts.entry(node.clone()).or_default().media = Media::Lost;
            for room in self.room_names() {
                self.send(&room, RoomInput::NodeLost(node.clone()));
            }
        }
        let facts = self.facts.entry(node.clone()).or_default();
        facts.media = Media::Up;
        facts.turn_urls = Arc::clone(&read.turn_urls);
        let by_room = sessions_by_room(self.room_names(), read.sessions, &self.config);
        for (room, sessions) in by_room {
            let input = RoomInput::NodeSynced {
                node: node.clone(),
                sessions,
                asked: None,
                turn_urls: Arc::clone(&read.turn_urls),
            };
            self.send(&room, input);
        }
        let early = std::mem::take(&mut self.early_events);
        for (of, stream, event) in early {
            if of == *node {
                self.on_node_event(&of, stream, event);
            } else {
                self.early_events.push((of, stream, event));
            }
        }
    }

    fn route(&mut self, node: &NodeId, event: proto::event::Event) {
        let Some(event) = convert::event(event) else {
            return;
        };
        let participant = match &event {
            NodeEvent::Connected { session, .. }
            | NodeEvent::Closed { session, .. }
            | NodeEvent::Offer { session, .. }
            | NodeEvent::Layer { session, .. } => session.participant.clone(),
            NodeEvent::Levels { shard, levels } => {
                let shard = *shard;
                let of_shard = (node.clone(), shard);
                let by_room = self.routes.levels_by_room(of_shard, levels.clone());
                for (room, levels) in by_room {
                    let event = NodeEvent::Levels { shard, levels };
                    if self.rooms.contains_key(&room) {
                        self.send(&room, RoomInput::Node(node.clone(), event));
                    }
                }
                return;
            }
        };
        if let Some(room) = self.routes.room_of(&participant) {
            self.send(&room, RoomInput::Node(node.clone(), event));
        }
    }

    fn room_names(&self) -> Vec<RoomName> {
        self.rooms.keys().cloned().collect()
    }
}

/// Opens the stream of events, renews the lease, and reads the state of the node, in this order.
async fn read_node(
    net: Rc<Net>,
    node: &NodeId,
    stream: StreamId,
    renew: proto::RenewLeaseRequest,
) -> Result<ReadNode, NodeError> {
    let hello = match net.node(node, NodeCall::Watch(stream)).await? {
        NodeReply::Hello(incarnation) => incarnation,
        reply => return Err(unexpected(&reply)),
    };
    net.node(node, NodeCall::RenewLease(renew)).await?;
    let (incarnation, sessions) = Rc::clone(&net).sessions(node.clone(), Vec::new()).await?;
    if incarnation != hello {
        let said = "it restarted meanwhile".to_owned();
        return Err(NodeError::Unavailable(said));
    }
    let turn_urls = match net.node(node, NodeCall::Describe).await? {
        NodeReply::Node(node) => node.turn_urls.clone().into(),
        reply => return Err(unexpected(&reply)),
    };
    Ok(ReadNode {
        incarnation,
        sessions,
        turn_urls,
    })
}
