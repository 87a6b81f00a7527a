//! Joins and resumes: new members, and clients that reconnect.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spillway_mutants::{Mutant, is_planted};

use super::member::{Attachment, Member, StayLimits, Subscriptions};
use super::session::{Session, State};
use super::{
    CloseCode, ErrorCode, JoinRequest, Joined, JoinedLimits, Media, MediaState, Mode, Notice,
    Output, Refusal, Room, SocketId, Then,
};
use crate::auth::ResumeClaims;
use crate::history::{Entry, LeaveReason, Missed, RoomEvent};
use crate::ids::{Generation, Half, NodeId, ParticipantId, SessionId};
use crate::turn::Relays;

impl Room {
    pub(super) fn join(
        &mut self,
        socket: SocketId,
        join: JoinRequest,
        node: Option<NodeId>,
        now: Instant,
    ) {
        if let Some(age_s) = join.expired {
            let refusal = Refusal::new(
                ErrorCode::TokenExpired,
                format!("token expired {age_s} s ago"),
            );
            return self.refuse_join(socket, join.id, refusal, CloseCode::TokenRefused);
        }
        let old_member = self.member_by_identity.get(&join.identity).cloned();
        let old = old_member
            .or_else(|| Some(self.roster.by_identity(&join.identity)?.participant.clone()));
        let limit = self.config.limits.participants;
        let present = self.present(join.grants.hidden, old.as_ref());
        if present >= limit {
            let said = format!(
                "room '{}' has {present} participants, the limit is {limit}",
                self.name
            );
            let refusal = Refusal::new(ErrorCode::TooManyParticipants, said);
            return self.refuse_join(socket, join.id, refusal, CloseCode::ProtocolError);
        }
        let Some(node) = node else {
            let refusal = Refusal::new(ErrorCode::MediaUnavailable, "no node is available");
            return self.refuse_join(socket, join.id, refusal, CloseCode::GoingAway);
        };
        if let Some(old) = old {
            self.leave(&old, LeaveReason::Replaced, now);
        }
        let member = self.new_member(socket, &join, node);
        let participant = member.participant.clone();
        let listed = member.listed();
        let hidden = member.grants.hidden;
        self.participant_by_socket
            .insert(socket, participant.clone());
        self.add_member(member);
        if hidden {
            return self.send_joined(&participant, Mode::New, (join.id, join.unix_s), &[], now);
        }
        let event = RoomEvent::ParticipantJoined {
            participant: listed,
        };
        let then = Then::Joined {
            participant,
            id: join.id,
            unix_s: join.unix_s,
        };
        self.append(event, None, then);
    }

    /// A member that was not in the room, with its sessions on `node`.
    fn new_member(&self, socket: SocketId, join: &JoinRequest, node: NodeId) -> Member {
        Member {
            participant: ParticipantId::random(),
            identity: join.identity.clone(),
            name: join.name.clone(),
            grants: join.grants.clone(),
            auto_subscribe: join.auto_subscribe,
            attachment: Attachment::Joining(socket),
            stay: StayLimits {
                since: (self.epoch.clone(), self.roster.offset()),
                joined_s: join.unix_s,
                token_ends_s: join.token_ends_s,
            },
            ends_at: None,
            must_report_lost: self.media_of(&node) == Media::Lost,
            node,
            generation: Generation::default(),
            track_by_id: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    pub(super) fn resume(
        &mut self,
        (socket, participant): (SocketId, &ParticipantId),
        join: JoinRequest,
        missed: Missed,
        now: Instant,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        if join.expired.is_some() && !is_latest(&join, member) {
            let said = "token expired, and another one was used after the resume key was given";
            let refusal = Refusal::new(ErrorCode::TokenExpired, said);
            return self.refuse_join(socket, join.id, refusal, CloseCode::TokenRefused);
        }
        if !join.grants.covers(&member.grants) {
            // Sessions with more grants than the new token has must not continue.
            let node = member.node.clone();
            return self.join(socket, join, Some(node), now);
        }
        let Some(point) = &join.resume else {
            return;
        };
        if let Some(old) = member.any_socket() {
            if !is_planted(Mutant::ReplacedSocketEndsStay) {
                self.participant_by_socket.remove(&old);
            }
            let (code, reason) = (
                CloseCode::Replaced,
                "the participant came back on another socket",
            );
            self.outputs.push_back(Output::Close {
                socket: old,
                code,
                reason,
            });
        }
        member.attachment = Attachment::Joining(socket);
        member.grants = join.grants.clone();
        member.auto_subscribe = join.auto_subscribe;
        member.stay = StayLimits {
            since: point.since.clone(),
            joined_s: point.joined_s,
            token_ends_s: join.token_ends_s,
        };
        member.ends_at = point
            .ends_s
            .map(|ends_s| now + Duration::from_secs(ends_s.saturating_sub(join.unix_s)));
        let ends_at = member.ends_at;
        self.participant_by_socket
            .insert(socket, participant.clone());
        if let Some(ends_at) = ends_at {
            self.wake(participant, ends_at);
        }
        let seen = point.seen.as_ref();
        let same_epoch = seen.is_some_and(|(epoch, _)| *epoch == self.epoch);
        let about = (join.id, join.unix_s);
        match missed {
            Missed::Entries(entries) if same_epoch => {
                self.send_joined(participant, Mode::Recovered, about, &entries, now);
            }
            Missed::Entries(_) | Missed::TooOld => {
                self.send_joined(participant, Mode::Resync, about, &[], now);
            }
        }
    }

    /// Sends `joined` and everything that belongs to it: missed events, lost media, an outstanding
    /// offer, active speakers.
    pub(super) fn send_joined(
        &mut self,
        participant: &ParticipantId,
        mode: Mode,
        (id, unix_s): (Option<u32>, u64),
        missed: &[Arc<Entry>],
        now: Instant,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let Some(socket) = member.any_socket() else {
            return;
        };
        member.attachment = Attachment::Attached(socket);
        // A participant may see all events of a history that started over while it was in the room.
        if mode == Mode::New || member.stay.since.0 != self.epoch {
            member.stay.since = (self.epoch.clone(), self.roster.offset());
        }
        let must_report_lost = std::mem::take(&mut member.must_report_lost);
        let offset = self.roster.offset();
        let seen: Vec<_> = missed
            .iter()
            .filter(|entry| entry.offset <= offset)
            .collect();
        let first = seen.first().map(|entry| entry.offset);
        let Some(member) = self.member_by_id.get(participant) else {
            return;
        };
        let joined = self.joined(member, (mode, first), (id, unix_s));
        let mut notices = vec![Notice::Joined(Box::new(joined))];
        let identity = &member.identity;
        let seen = seen.into_iter();
        notices.extend(
            seen.map(|entry| match is_planted(Mutant::PrivateMessageAtResume) {
                true => Notice::Event(Arc::clone(entry)),
                false => Notice::event_for(entry, identity),
            }),
        );
        if must_report_lost {
            notices.push(Notice::media(MediaState::Lost, None));
            if self.media_of(&member.node) == Media::Up {
                notices.push(Notice::media(MediaState::Ready, None));
            }
        }
        let session = self.session_by_id.get(&member.session(Half::Subscribe));
        let outstanding = session.and_then(|session| session.outstanding());
        notices.extend(outstanding.cloned().map(Notice::Offer));
        let speakers = self.speakers.last_sent();
        if !speakers.is_empty() {
            notices.push(Notice::Speakers(speakers.to_vec()));
        }
        for notice in notices {
            self.outputs.push_back(Output::Send { socket, notice });
        }
        self.create_subscribe_session(participant, now);
    }

    /// Content of `joined`. `first` is the offset of the first event that follows; `None` if no
    /// event follows.
    fn joined(
        &self,
        member: &Member,
        (mode, first): (Mode, Option<u64>),
        (id, unix_s): (Option<u32>, u64),
    ) -> Joined {
        let Member {
            participant,
            identity,
            stay,
            ..
        } = member;
        let others = self
            .roster
            .participants()
            .filter(|p| p.participant != *participant);
        let offset = match (mode, first) {
            (Mode::Recovered | Mode::Resync, Some(first)) => first - 1,
            (Mode::Recovered | Mode::New | Mode::Resync, _) => self.roster.offset(),
        };
        let claims = ResumeClaims {
            participant: participant.clone(),
            identity: identity.clone(),
            room: self.name.clone(),
            epoch: stay.since.0.clone(),
            since: stay.since.1,
            grants: member.grants.clone(),
            token_ends_s: stay.token_ends_s,
            joined_s: stay.joined_s,
        };
        let limits = self.config.limits;
        Joined {
            id,
            mode,
            room: self.name.clone(),
            participant: participant.clone(),
            identity: identity.clone(),
            epoch: self.epoch.clone(),
            offset,
            resume_key: self.config.keys.resume_key(claims, unix_s),
            participants: (mode != Mode::Recovered).then(|| others.cloned().collect()),
            relays: self.relays(participant, unix_s),
            limits: JoinedLimits {
                message_bytes: limits.message_bytes,
                messages_per_second: limits.messages_per_second,
                tracks: limits.tracks,
            },
        }
    }

    /// TURN servers and credentials of the participant's node.
    pub(super) fn relays(&self, participant: &ParticipantId, unix_s: u64) -> Relays {
        let member = self.member_by_id.get(participant);
        let Some((issuer, member)) = self.config.turn.as_ref().zip(member) else {
            return Relays::default();
        };
        let Some(facts) = self.facts_by_node.get(&member.node) else {
            return Relays::default();
        };
        issuer.relays(&facts.turn_urls, (&self.name, &member.identity), unix_s)
    }

    /// Number of participants that count against the limit, without `old`, which the join replaces.
    /// For a visible participant, hidden ones do not count: a refusal must not reveal them.
    fn present(&self, hidden: bool, old: Option<&ParticipantId>) -> usize {
        let is_hidden =
            |id: &ParticipantId| self.member_by_id.get(id).is_some_and(|m| m.grants.hidden);
        let replaces = old.is_some_and(|old| is_hidden(old) == hidden);
        let count = if hidden {
            self.hidden
        } else {
            self.roster.len().max(self.member_by_id.len() - self.hidden)
        };
        count - usize::from(replaces)
    }

    pub(super) fn add_member(&mut self, member: Member) {
        let participant = member.participant.clone();
        self.hidden += usize::from(member.grants.hidden);
        self.member_by_identity
            .insert(member.identity.clone(), participant.clone());
        if let Attachment::Away { until } = member.attachment {
            self.wake(&participant, until);
        }
        for id in member.sessions() {
            self.begin_session(id, member.node.clone(), State::Absent);
        }
        self.outputs.push_back(Output::RouteEvents {
            participant: participant.clone(),
            here: true,
        });
        self.member_by_id.insert(participant, member);
    }

    /// Sets the state of a session of a participant that joins or comes back.
    pub(super) fn begin_session(&mut self, id: SessionId, node: NodeId, state: State) {
        match self.session_by_id.entry(id) {
            btree_map::Entry::Vacant(vacant) => _ = vacant.insert(Session::new(node, state)),
            btree_map::Entry::Occupied(known) => known.into_mut().begin_again(node, state),
        }
    }

    pub(super) fn refuse_join(
        &mut self,
        socket: SocketId,
        id: Option<u32>,
        refusal: Refusal,
        code: CloseCode,
    ) {
        let notice = Notice::refused(id, refusal);
        self.outputs.push_back(Output::Send { socket, notice });
        let reason = "the join was refused";
        self.outputs.push_back(Output::Close {
            socket,
            code,
            reason,
        });
    }
}

/// True if the resume key belongs to the latest valid token that this server knows. After a restart
/// the server knows none.
fn is_latest(join: &JoinRequest, member: &Member) -> bool {
    let ends_s = member.stay.token_ends_s;
    ends_s == 0 || (ends_s, &member.grants) == (join.token_ends_s, &join.grants)
}
