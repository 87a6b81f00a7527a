//! Handles changes that other servers cause: participants move between servers, and histories start
//! over.

use std::sync::Arc;
use std::time::Instant;

use super::member::{Attachment, StayLimits};
use super::restore::{ParticipantClaims, SessionPair, member_of};
use super::{
    CloseCode, JoinRequest, Mode, Notice, Output, ReadForJoin, Room, Sessions, SocketId, Then,
};
use crate::fleet::Published;
use crate::history::{Ephemeral, MissedByRestart, RoomEvent, Roster};
use crate::ids::{Epoch, ParticipantId};

impl Room {
    /// The sessions of a resuming participant that another server served until now.
    pub fn sessions_on_other_server(&self, join: &JoinRequest) -> Option<Sessions> {
        let resume = join.resume.as_ref()?;
        let known = self.roster.participant(&resume.participant)?;
        // An identity that is here under another participant has replaced the earlier one.
        let is_here = self.member_by_id.contains_key(&resume.participant)
            || self.member_by_identity.contains_key(&join.identity);
        (!is_here && known.identity == join.identity).then(|| Sessions::of(known))
    }

    /// Takes over a participant from another server, with its sessions on its node.
    pub(super) fn take_over(
        &mut self,
        socket: SocketId,
        sessions: &Sessions,
        join: JoinRequest,
        read: ReadForJoin,
        now: Instant,
    ) {
        let participant = &sessions.participant;
        let pair = SessionPair::of(sessions, read.sessions);
        let Some(point) = &join.resume else {
            return;
        };
        let attachment = Attachment::Away {
            until: now + self.config.limits.grace,
        };
        // The grants of the earlier token; `resume` checks the new token.
        let claims = ParticipantClaims {
            identity: join.identity.clone(),
            name: join.name.clone(),
            grants: point.grants.clone(),
            auto_subscribe: join.auto_subscribe,
        };
        let stay = StayLimits {
            since: point.since.clone(),
            joined_s: point.joined_s,
            token_ends_s: join.token_ends_s,
        };
        let mut member = member_of(sessions, claims, &pair, (attachment, stay));
        let listed = self.roster.participant(participant);
        let listed = listed.map_or(&[][..], |known| &known.tracks);
        let mut is_lost = pair.subscribe.is_none() && member.grants.subscribe;
        // Tracks without a session: the client must offer them again, or they are unpublished.
        for track in listed {
            if !member.track_by_id.contains_key(&track.track) {
                is_lost = true;
                let (mid, track) = (String::new(), track.clone());
                let published = Published { mid, track };
                member
                    .track_by_id
                    .insert(published.track.track.clone(), published);
            }
        }
        self.add_with_sessions(member, &pair);
        // Tracks may have ended while nobody served the participant, or before the other server had ended their subscriptions.
        self.unsubscribe_ended(participant);
        if is_lost {
            self.lose(participant, None, now);
        }
        self.resume((socket, participant), join, read.missed, now);
    }

    /// Another server serves the participant from now on and owns its sessions.
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
        for id in member.sessions() {
            if self
                .session_by_id
                .get_mut(&id)
                .is_some_and(|session| !session.end())
            {
                self.session_by_id.remove(&id);
            }
        }
        let (participant, here) = (participant.clone(), false);
        self.outputs
            .push_back(Output::RouteEvents { participant, here });
    }

    /// The history started over. All members get a snapshot. Members that are missing in the new
    /// history join again. Messages in `missed` are sent to members that were in the room at that
    /// time.
    pub fn handle_restarted(
        &mut self,
        (epoch, roster): (Epoch, Roster),
        missed: &MissedByRestart,
        (now, unix_s): (Instant, u64),
    ) {
        let before = self.tracks();
        let old_epoch = std::mem::replace(&mut self.epoch, epoch);
        self.roster = roster;
        let after = self.tracks();
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
            self.outputs.push_back(Output::RouteLevels { track, here });
        }
        let members = self.member_ids();
        for id in &members {
            self.append_join_again(id);
        }
        for id in &members {
            self.unsubscribe_ended(id);
            let member = self.member_by_id.get(id);
            if let Some(member) = member.filter(|member| member.socket().is_some()) {
                let (epoch, since) = &member.stay.since;
                // Participants do not get events from before they joined.
                let came_later = *epoch == old_epoch && *since > missed.common;
                let entries = if came_later { &[] } else { &missed.entries[..] };
                self.send_joined(id, Mode::Resync, (None, unix_s), entries, now);
                if !came_later {
                    self.send_missed(id, &missed.messages);
                }
            } else {
                self.create_subscribe_session(id, now);
            }
        }
    }

    /// Sends messages that are older than the snapshot, and therefore have no offset.
    fn send_missed(&mut self, id: &ParticipantId, messages: &[Arc<Ephemeral>]) {
        let Some(member) = self.member_by_id.get(id) else {
            return;
        };
        let Some(socket) = member.socket() else {
            return;
        };
        let is_for = |message: &&Arc<Ephemeral>| {
            let to = message.to.as_ref();
            to.is_none_or(|to| to.contains(&member.identity))
        };
        for message in messages.iter().filter(is_for) {
            let notice = Notice::Message(Arc::clone(message));
            self.outputs.push_back(Output::Send { socket, notice });
        }
    }

    fn append_join_again(&mut self, id: &ParticipantId) {
        let Some(member) = self.member_by_id.get(id) else {
            return;
        };
        let is_joining = matches!(member.attachment, Attachment::Joining(_));
        if member.grants.hidden || is_joining || self.roster.participant(id).is_some() {
            return;
        }
        let participant = member.listed();
        let event = RoomEvent::ParticipantJoined { participant };
        self.append(event, None, Then::Nothing);
    }

    /// Ends subscriptions to tracks that no longer exist.
    fn unsubscribe_ended(&mut self, id: &ParticipantId) {
        let roster = &self.roster;
        let Some(member) = self.member_by_id.get_mut(id) else {
            return;
        };
        let wished = member.subscriptions.params_by_track.keys();
        let dead: Vec<_> = wished
            .filter(|track| roster.track(track).is_none())
            .cloned()
            .collect();
        for track in dead {
            member.subscriptions.unsubscribe(&track);
        }
    }
}
