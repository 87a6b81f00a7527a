//! Clients of a room: joins, resumes and requests.

use std::sync::Arc;

use super::step::Ask;
use super::world::{World, node_id};
use crate::fleet::HeldSession;
use crate::history::{Missed, Participant};
use crate::ids::TrackId;
use crate::room::fixtures::join_of;
use crate::room::{JoinRequest, OfferedTrack, PublishOffer, ReadForJoin, Request, SocketId};

impl World {
    pub(super) fn join(&mut self, who: usize, resume: Option<(JoinRequest, Missed)>, node: usize) {
        self.sockets += 1;
        let (socket, unix_s) = (SocketId(self.sockets), self.unix_s());
        let client = &mut self.clients[who];
        client.open(socket);
        let fresh = || JoinRequest {
            grants: client.grants.clone(),
            auto_subscribe: client.auto_subscribe,
            unix_s,
            ..join_of(client.identity.as_str(), None)
        };
        let (join, missed) = resume.unwrap_or_else(|| (fresh(), Missed::TooOld));
        if self.room.charge_join(socket, &join, self.now) {
            let read = ReadForJoin {
                missed,
                sessions: self.claim(&join),
                node: Some(node_id(node)),
            };
            self.room.handle_join(socket, join, read, self.now);
        }
    }

    /// Takes a participant over from the other server. Returns its sessions.
    pub(super) fn claim(&mut self, join: &JoinRequest) -> Vec<HeldSession> {
        let Some(claimed) = self.room.sessions_on_other_server(join) else {
            return Vec::new();
        };
        // The other server knew what the client unsubscribed from; this one does not.
        let clients = self.clients.iter_mut();
        clients
            .filter(|client| client.identity == join.identity)
            .for_each(|client| client.unsubscribed.clear());
        self.elsewhere
            .retain(|other| other.participant != claimed.participant);
        let held = self
            .nodes
            .iter()
            .flat_map(|node| node.session_by_id.values());
        held.filter(|held| held.session.participant == claimed.participant)
            .cloned()
            .collect()
    }

    pub(super) fn resume(&mut self, who: usize, knows_all: bool, is_expired: bool) {
        let client = &self.clients[who];
        let Some(point) = client.resume_point(self.unix_s(), is_expired) else {
            return;
        };
        let seen = point
            .seen
            .as_ref()
            .map_or(0, |(_, offset)| *offset as usize);
        let missed = match knows_all {
            true => Missed::Entries(self.log[seen..].to_vec()),
            false => Missed::TooOld,
        };
        let join = JoinRequest {
            grants: client.grants.clone(),
            auto_subscribe: client.auto_subscribe,
            expired: is_expired.then_some(7),
            unix_s: self.unix_s(),
            ..join_of(client.identity.as_str(), Some(point))
        };
        self.join(who, Some((join, missed)), 0);
    }

    pub(super) fn drop_socket(&mut self, who: usize) {
        if let Some((socket, _)) = self.clients[who].socket.take() {
            self.room.handle_socket_gone(socket, self.now);
        }
    }

    pub(super) fn ask(&mut self, who: usize, ask: &Ask) {
        let Some(request) = self.request(who, ask) else {
            return;
        };
        let client = &mut self.clients[who];
        let Some((socket, _)) = client.socket else {
            return;
        };
        if request.permitted_by(&client.grants).is_err() {
            return; // the signaling session refuses it
        }
        let id = client.ask();
        match &request {
            Request::Subscribe { tracks } => {
                let wishes = tracks.iter().map(|(track, _)| (id, (track.clone(), true)));
                client.wishes.extend(wishes);
            }
            Request::Unsubscribe { tracks } => {
                let wishes = tracks.iter().map(|track| (id, (track.clone(), false)));
                client.wishes.extend(wishes);
            }
            _ => {}
        }
        let time = (self.now, self.unix_s());
        self.room.handle_request(socket, Some(id), request, time);
    }

    pub(super) fn request(&self, who: usize, ask: &Ask) -> Option<Request> {
        let tracks: Vec<TrackId> = {
            let of = |participant: &Arc<Participant>| participant.tracks.clone();
            self.stored
                .participants()
                .flat_map(of)
                .map(|track| track.track)
                .collect()
        };
        let track = |index: usize| match tracks.is_empty() {
            true => TrackId::random(),
            false => tracks[index % tracks.len()].clone(),
        };
        let client = &self.clients[who];
        Some(match ask {
            Ask::Offer(offered) => {
                let own = client
                    .known
                    .as_ref()
                    .and_then(|known| self.stored.participant(&known.participant));
                let track = |kind| {
                    own?.tracks
                        .iter()
                        .find(|track| track.kind == kind)
                        .map(|track| track.track.clone())
                };
                let named = |(offered, is_known): &(OfferedTrack, bool)| OfferedTrack {
                    track: if *is_known { track(offered.kind) } else { None },
                    ..offered.clone()
                };
                Request::Offer(PublishOffer {
                    sdp: "v=0".to_owned(),
                    tracks: offered.iter().map(named).collect(),
                })
            }
            Ask::Answer { is_right } => Request::Answer {
                revision: client.offered? + u64::from(!is_right),
                sdp: "v=0".to_owned(),
            },
            Ask::Candidate(half) => Request::Candidate {
                half: *half,
                candidate: "candidate".to_owned(),
            },
            Ask::Subscribe(index, params) => Request::Subscribe {
                tracks: vec![(track(*index), *params)],
            },
            Ask::Unsubscribe(index) => Request::Unsubscribe {
                tracks: vec![track(*index)],
            },
            Ask::Mute(index, muted) => Request::Mute {
                track: track(*index),
                muted: *muted,
            },
            Ask::Message { to, persistence } => {
                let identity = |index: &usize| self.clients[*index].identity.clone();
                Request::Message {
                    topic: "t".to_owned(),
                    payload: 7.into(),
                    to: to.as_ref().map(|to| to.iter().map(identity).collect()),
                    persistence: *persistence,
                }
            }
            Ask::IceServers => Request::IceServers,
            Ask::Leave => Request::Leave,
        })
    }
}
