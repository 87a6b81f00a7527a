//! Ends of participants: by request, by timeout, or because their server died.

use std::time::Instant;

use super::member::{Attachment, Member};
use super::session::{Session, State};
use super::{CloseCode, Output, Room, Sessions, Then};
use crate::history::{Append, Change};
use crate::history::{LeaveReason, Participant, RoomEvent};
use crate::ids::ParticipantId;

impl Room {
    /// Ends a participant, on this server or on another one.
    pub(super) fn leave(&mut self, participant: &ParticipantId, reason: LeaveReason, now: Instant) {
        let listed = self.expected(participant).map(Sessions::of);
        if let Some(known) = self.expected(participant) {
            let event = RoomEvent::ParticipantLeft {
                participant: participant.clone(),
                identity: known.identity.clone(),
                reason,
            };
            self.append(event, None, Then::Nothing);
        }
        let is_here = self.member_by_id.contains_key(participant);
        self.forget(participant, reason, now);
        if let Some(sessions) = listed.filter(|_| !is_here) {
            // Its server closes the sessions too, unless that server has died.
            self.close_sessions(&sessions, "replaced", now);
        }
    }

    /// Closes the sessions of a participant of any server.
    pub(super) fn close_sessions(
        &mut self,
        sessions: &Sessions,
        reason: &'static str,
        now: Instant,
    ) {
        for id in sessions.ids() {
            let session = self.session_by_id.entry(id.clone());
            let session =
                session.or_insert_with(|| Session::new(sessions.node.clone(), State::Closing));
            session.close(reason);
            self.advance(&id, now);
        }
    }

    /// Removes a member from this server: closes its socket and its sessions.
    pub(super) fn forget(
        &mut self,
        participant: &ParticipantId,
        reason: LeaveReason,
        now: Instant,
    ) {
        let Some(member) = self.take_member(participant) else {
            return;
        };
        let (code, reason) = match reason {
            LeaveReason::Left => (CloseCode::Left, "left"),
            LeaveReason::Timeout => (CloseCode::Silent, "the socket stayed away too long"),
            LeaveReason::Replaced => (CloseCode::Replaced, "the same identity joined again"),
            LeaveReason::Removed => (CloseCode::ProtocolError, "removed"),
        };
        if let Some(socket) = member.any_socket() {
            self.participant_by_socket.remove(&socket);
            self.outputs.push_back(Output::Close {
                socket,
                code,
                reason,
            });
        }
        let sessions = Sessions {
            participant: member.participant,
            node: member.node,
            generation: member.generation,
        };
        self.close_sessions(&sessions, reason, now);
        self.outputs.push_back(Output::RouteEvents {
            participant: participant.clone(),
            here: false,
        });
    }

    pub(super) fn take_member(&mut self, participant: &ParticipantId) -> Option<Member> {
        let member = self.member_by_id.remove(participant)?;
        self.hidden -= usize::from(member.grants.hidden);
        if self.member_by_identity.get(&member.identity) == Some(participant) {
            self.member_by_identity.remove(&member.identity);
        }
        Some(member)
    }

    /// Ends a participant that resumed with an expired token and got no valid token in time.
    pub(super) fn end_unauthorized(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        if member.ends_at.is_none_or(|at| at > now) {
            return;
        }
        if let Some(socket) = member.any_socket() {
            member.attachment = Attachment::Away { until: now };
            self.participant_by_socket.remove(&socket);
            let (code, reason) = (CloseCode::TokenRefused, "the token has expired");
            self.outputs.push_back(Output::Close {
                socket,
                code,
                reason,
            });
        }
        self.leave(participant, LeaveReason::Removed, now);
    }

    /// Removes a participant whose presence has expired because its server died.
    pub fn handle_absent(&mut self, participant: &Participant) {
        let here = self.member_by_id.contains_key(&participant.participant);
        if !here && self.roster.participant(&participant.participant).is_some() {
            self.queue(&timed_out(participant));
            let append = Append {
                event: timed_out(participant),
                to: None,
                change: Change::RemoveAbsent(participant.participant.clone()),
            };
            let then = Then::Absent(Sessions::of(participant));
            self.outputs.push_back(Output::Append { append, then });
        }
    }

    /// Ends a participant whose client did not reconnect in time, unless another server serves it
    /// by now.
    pub(super) fn time_out(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(known) = self.expected(participant) else {
            return self.forget(participant, LeaveReason::Timeout, now);
        };
        let event = timed_out(known);
        self.queue(&event);
        let append = Append {
            event,
            to: None,
            change: Change::RemoveOurs(participant.clone()),
        };
        let then = Then::Left(participant.clone());
        self.outputs.push_back(Output::Append { append, then });
        if let Some(member) = self.member_by_id.get_mut(participant) {
            let until = now + self.config.limits.grace;
            member.attachment = Attachment::Away { until };
            self.wake(participant, until);
        }
    }
}

fn timed_out(participant: &Participant) -> RoomEvent {
    RoomEvent::ParticipantLeft {
        participant: participant.participant.clone(),
        identity: participant.identity.clone(),
        reason: LeaveReason::Timeout,
    }
}
