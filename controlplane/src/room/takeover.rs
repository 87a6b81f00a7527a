//! Participants that move between signaling servers, and histories that start over: what the others who serve
//! the room have to say about this server's part of it.

use std::time::Instant;

use super::adopt::member_of;
use super::member::{Attachment, Stay};
use super::{Epoch, Output, Room, SocketId, Then, ephemeral_frame};
use crate::history::Missed;
use crate::history::{Ephemeral, MissedByRestart, Participant, RoomEvent, Roster};
use crate::ids::{Half, ParticipantId, SessionId, TrackId};
use crate::signaling::{CloseCode, JoinRequest, Mode};
use spillway_wire::dataplane as wire;

impl Room {
    /// Who comes back to this server from another one, with what it proved to be.
    pub fn comes_from_elsewhere(&self, join: &JoinRequest) -> Option<ParticipantId> {
        let resume = join.resume.as_ref()?;
        let known = self.roster.participant(&resume.participant)?;
        let is_here = self.member_by_id.contains_key(&resume.participant);
        (!is_here && known.identity == join.identity).then(|| resume.participant.clone())
    }

    /// It came, and the data plane holds these sessions of it: they go on as they are.
    pub fn handle_takeover(
        &mut self,
        (socket, participant): (SocketId, &ParticipantId),
        join: JoinRequest,
        (missed, sessions): (Missed, Vec<wire::Session>),
        now: Instant,
    ) {
        let take = |half: Half| {
            let name = participant.session(half);
            sessions
                .iter()
                .find(|session| session.session == name.as_str())
                .cloned()
        };
        let halves = (take(Half::Publish), take(Half::Subscribe));
        self.outputs.push_back(Output::Take {
            sessions: sessions_of(participant),
        });
        let who = (join.identity.clone(), join.name.clone());
        let attachment = Attachment::Away {
            until: now + self.config.limits.grace,
        };
        let Some(point) = &join.resume else {
            return;
        };
        // As it was there; what the token of today says is found out when it resumes.
        let may = (point.grants.clone(), join.auto_subscribe);
        let stay = Stay {
            since: point.since.clone(),
            joined_s: point.joined_s,
            token_ends_s: join.token_ends_s,
        };
        let about = (attachment, stay);
        let mut member = member_of((participant.clone(), who, may), &halves, about);
        let listed = self
            .roster
            .participant(participant)
            .map_or(&[][..], |p| &p.tracks);
        let is_published = |track: &TrackId| member.publish.track_by_id.contains_key(track);
        // Tracks without a session are the client's to offer again, or they go.
        let lost = halves.0.is_none() || !listed.iter().all(|track| is_published(&track.track));
        member.owes_lost = lost && !listed.is_empty();
        self.add_member(member);
        if let Some(offer) = halves.1.and_then(|session| session.outstanding_offer) {
            self.offered(&participant.session(Half::Subscribe), &offer);
        }
        self.resume((socket, participant), join, missed, now);
    }

    /// Another server serves the participant from now on: its sessions are that server's.
    pub fn handle_taken(&mut self, participant: &ParticipantId) {
        let Some(member) = self.take_member(participant) else {
            return;
        };
        if let Some(socket) = member.any_socket() {
            self.participant_by_socket.remove(&socket);
            let (code, reason) = (
                CloseCode::Replaced,
                "the participant came back on another server",
            );
            self.outputs.push_back(Output::Close {
                socket,
                code,
                reason,
            });
        }
        for half in [Half::Publish, Half::Subscribe] {
            self.lane_by_session.remove(&participant.session(half));
        }
        let (participant, here) = (participant.clone(), false);
        self.outputs.push_back(Output::Serve { participant, here });
    }

    /// The history started over: everybody here is told the whole truth, and who is missing in it is
    /// entered again. `missed` is what it has that was not told here; whoever was in the room by then is told.
    pub fn handle_restarted(
        &mut self,
        (epoch, roster): (Epoch, Roster),
        missed: &MissedByRestart,
        (now, unix_s): (Instant, u64),
    ) {
        let before = self.all_tracks();
        let old_epoch = std::mem::replace(&mut self.epoch, epoch);
        self.roster = roster;
        let after = self.all_tracks();
        let gone = before
            .iter()
            .filter(|track| !after.contains(track))
            .map(|track| (track, false));
        let come = after
            .iter()
            .filter(|track| !before.contains(track))
            .map(|track| (track, true));
        for (track, here) in gone.chain(come) {
            let track = track.clone();
            self.outputs.push_back(Output::Hear { track, here });
        }
        let members = self.member_ids();
        for id in &members {
            self.enter_again(id);
        }
        for id in &members {
            self.unwant_dead(id);
            let member = self.member_by_id.get(id);
            if let Some(member) = member.filter(|member| member.socket().is_some()) {
                let (epoch, since) = &member.stay.since;
                // Nobody is told what was before their join.
                let came_later = *epoch == old_epoch && *since > missed.common;
                let entries = if came_later { &[] } else { &missed.entries[..] };
                self.welcome(id, Mode::Resync, (None, unix_s), entries, now);
                if !came_later {
                    self.tell_late(id, &missed.messages);
                }
            } else {
                self.prepare_subscribe(id, now);
            }
        }
    }

    /// Messages whose numbers are before those of the snapshot.
    fn tell_late(&mut self, id: &ParticipantId, messages: &[Ephemeral]) {
        let Some(member) = self.member_by_id.get(id) else {
            return;
        };
        let (socket, identity) = (member.socket(), &member.identity);
        let is_for = |message: &&Ephemeral| {
            let to = message.to.as_ref();
            to.is_none_or(|to| to.contains(identity))
        };
        let frames: Vec<_> = messages
            .iter()
            .filter(is_for)
            .map(ephemeral_frame)
            .collect();
        for (socket, frame) in socket.into_iter().cycle().zip(frames) {
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    fn enter_again(&mut self, id: &ParticipantId) {
        let Some(member) = self.member_by_id.get(id) else {
            return;
        };
        let is_entering = matches!(member.attachment, Attachment::Entering(_));
        if member.grants.hidden || is_entering || self.roster.participant(id).is_some() {
            return;
        }
        let tracks = member
            .publish
            .track_by_id
            .values()
            .map(|published| published.track.clone());
        let participant = Participant {
            participant: id.clone(),
            identity: member.identity.clone(),
            name: member.name.clone(),
            tracks: tracks.collect(),
        };
        self.append(
            RoomEvent::ParticipantJoined { participant },
            None,
            Then::Nothing,
        );
    }

    /// Tracks that are no more are not subscribed to.
    fn unwant_dead(&mut self, id: &ParticipantId) {
        let roster = &self.roster;
        let Some(member) = self.member_by_id.get_mut(id) else {
            return;
        };
        let wished = member.subscribe.wish_by_track.keys();
        let dead: Vec<_> = wished
            .filter(|track| roster.track(track).is_none())
            .cloned()
            .collect();
        for track in dead {
            member.subscribe.unwant(&track);
        }
    }

    fn all_tracks(&self) -> Vec<TrackId> {
        let tracks = self
            .roster
            .participants()
            .flat_map(|participant| &participant.tracks);
        tracks.map(|track| track.track.clone()).collect()
    }
}

/// The sessions of `participant`.
pub fn sessions_of(participant: &ParticipantId) -> Vec<SessionId> {
    [Half::Publish, Half::Subscribe]
        .map(|half| participant.session(half))
        .into()
}
