//! Handles messages from other shards and from the control thread.

use std::net::SocketAddr;
use std::time::Instant;

use spillway_wire::{demux, stun};

use crate::drop_reason::DropReason;
use crate::key::{SessionIndex, SessionKey, ShardId};
use crate::limits::MESH_PER_TURN;
use crate::mesh::message::{Datagram, ToControl, ToShard};
use crate::path::arrive::Arrived;
use crate::path::decrypt;
use crate::peer::output::PeerState;
use crate::shard::route::ForeignSession;
use crate::shard::state::Shard;

impl Shard {
    /// Handles a bounded number of messages. True when more may wait.
    pub fn read_mail(&mut self, now: Instant) -> bool {
        let mesh = self.outbox.mesh().clone();
        let mut left = MESH_PER_TURN;
        while left > 0
            && let Some(letter) = mesh.take_letter(self.id)
        {
            self.on_letter(letter, now);
            self.handle_session_events(now);
            left -= 1;
        }
        while left > 0
            && let Some(packet) = mesh.take_media(self.id)
        {
            self.forward_later(packet, now);
            left -= 1;
        }
        self.handle_session_events(now);
        left == 0
    }

    /// True when the shard was told to stop and all its messages are sent.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn on_letter(&mut self, letter: ToShard, now: Instant) {
        match letter {
            ToShard::Adopt { peer, first } => {
                let session = peer.session;
                self.adopt(*peer, now);
                if let Some(datagram) = first {
                    self.on_datagram(session, self.id, &datagram, now);
                }
            }
            ToShard::Datagram {
                session,
                via,
                datagram,
            } => {
                self.on_datagram(session, via, &datagram, now);
            }
            ToShard::Foreign {
                source,
                session,
                home,
            } => {
                let foreign = ForeignSession { home, session };
                if let Err(reason) = self.peers.add_foreign(source, foreign, now) {
                    self.report.drops.count(reason);
                }
            }
            ToShard::AddressInUse {
                source,
                session,
                home,
                at,
            } => {
                let foreign = ForeignSession { home, session };
                self.peers.record_foreign_received(source, foreign, at);
            }
            ToShard::NotHere(session) => self.peers.forget_session(session),
            ToShard::Unclaimed => self.report.drops.count(DropReason::UnknownUfrag),
            ToShard::Command {
                request,
                session,
                command,
            } => {
                self.on_command(request, session, command, now);
            }
            ToShard::OutgoingDatagrams(outward) => self.on_outgoing_datagrams(&outward, now),
            ToShard::Describe { request } => self.describe(request),
            ToShard::DescribeTurn { request } => self.describe_turn(request, now),
            ToShard::TrackHome { home, info, status } => self.track_home(home, info, status, now),
            ToShard::TrackGone { track, home } => self.track_gone(track, home),
            ToShard::Status(track, status) => self.set_status(track, status),
            ToShard::Interest {
                track,
                shard,
                layers,
            } => {
                self.set_interest(track, shard, layers);
                self.send_status(track, shard);
            }
            ToShard::Keyframe(track, layer) => self.request_keyframe(track, layer, now),
            ToShard::Stop => self.stop(now),
        }
    }

    /// Handles a datagram of a session of this shard that shard `via` received. If the client has nominated a path
    /// through another shard, and the address is proven, the session moves to that shard.
    fn on_datagram(
        &mut self,
        session: SessionKey,
        via: ShardId,
        datagram: &Datagram,
        now: Instant,
    ) {
        let Some(index) = self.peers.index_of(session) else {
            // The session has ended or moved. At the client's next check, the control thread names its shard.
            self.report.drops.count(DropReason::UnknownSource);
            if via == self.id {
                self.peers.forget_foreign(datagram.source);
            } else {
                self.send_to_shard(via, ToShard::NotHere(session));
            }
            return;
        };
        let Some(protocol) = demux::protocol(&datagram.bytes) else {
            return;
        };
        let arrived = Arrived {
            bytes: &datagram.bytes,
            source: datagram.source,
            local: datagram.local,
            inside: datagram.inside,
        };
        let message = stun::Message::parse(&datagram.bytes).ok();
        let check = message.filter(stun::Message::is_binding_request);
        let nominates = check.is_some_and(|check| check.has_use_candidate());
        if check.is_some() {
            // The shard that received the check has verified its password.
            if let Err(reason) = self.receive_from(index, arrived.checked(nominates), now) {
                return self.report.drops.count(reason);
            }
        } else if !self.knows(index, datagram.source) {
            return self.report.drops.count(DropReason::UnknownSource);
        }
        if datagram.inside && via != self.id {
            self.set_relay_shard(datagram.source, via);
        }
        decrypt::receive(self, index, &arrived, protocol, now);
        self.handle_session_events(now);
        if via != self.id {
            self.after_datagram(index, (via, datagram.source), nominates, now);
        }
    }

    /// After a datagram for session `index` through shard `via`: tells that shard that the address is in use, and moves
    /// the session there if the client nominated that path.
    fn after_datagram(
        &mut self,
        index: SessionIndex,
        (via, source): (ShardId, SocketAddr),
        nominates: bool,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if nominates {
            peer.paths.nominated_on(source, via);
        }
        let (session, last_received) = (
            peer.session,
            peer.paths.take_unreported_activity(source, now),
        );
        let destination = peer.paths.take_destination(now);
        if let Some(at) = last_received {
            let home = self.id;
            self.send_to_shard(
                via,
                ToShard::AddressInUse {
                    source,
                    session,
                    home,
                    at,
                },
            );
        }
        if let Some(to) = destination.filter(|to| *to != self.id) {
            self.hand_over(index, to, now);
        }
    }

    fn knows(&self, index: SessionIndex, source: SocketAddr) -> bool {
        self.peers
            .get(index)
            .is_some_and(|peer| peer.paths.knows(source))
    }

    fn on_command(
        &mut self,
        request: u64,
        session: SessionKey,
        command: crate::peer::command::Command,
        now: Instant,
    ) {
        let Some(peer) = self
            .peers
            .index_of(session)
            .and_then(|i| self.peers.get_mut(i))
        else {
            let bounced = ToControl::Bounced {
                request,
                session,
                command,
            };
            self.send_to_control(bounced);
            return;
        };
        let result = peer.apply(command, now, &mut self.out);
        if let Some(index) = self.peers.index_of(session) {
            self.absorb(index);
        }
        self.handle_session_events(now);
        self.send_to_control(ToControl::Reply { request, result });
    }

    fn send_status(&mut self, track: crate::key::TrackKey, shard: ShardId) {
        if let Some(status) = self.tracks.get_mut(track).map(|entry| entry.status) {
            self.send_to_shard(shard, ToShard::Status(track, status));
        }
    }

    fn describe(&mut self, request: u64) {
        let mut sessions: Vec<(SessionKey, PeerState)> = self
            .peers
            .iter()
            .map(|(_, peer)| (peer.session, peer.state()))
            .collect();
        for subscription in sessions
            .iter_mut()
            .flat_map(|(_, state)| &mut state.subscriptions)
        {
            let info = self
                .tracks
                .get_mut(subscription.track)
                .and_then(|entry| entry.info.clone());
            if let (Some(layer), Some(info)) = (subscription.layer, info) {
                subscription.rid = info.rid_of(layer).to_owned();
            }
        }
        self.send_to_control(ToControl::Description { request, sessions });
    }

    /// Closes every session, so that clients learn of the end immediately.
    fn stop(&mut self, now: Instant) {
        let indices: Vec<SessionIndex> = self.peers.iter().map(|(index, _)| index).collect();
        for index in indices {
            let Some(peer) = self.peers.get_mut(index) else {
                continue;
            };
            let reason = "the node is stopping".to_owned();
            // `Close` always succeeds.
            let _ = peer.apply(
                crate::peer::command::Command::Close { reason },
                now,
                &mut self.out,
            );
            self.absorb(index);
        }
        self.stopping = true;
    }
}
