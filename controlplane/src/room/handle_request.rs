//! Handles requests of clients. Their grants were checked before.

use std::time::Instant;

use super::session::{Job, ReplyTo};
use super::{ErrorCode, Notice, Output, Persistence, Refusal, Request, Room, SocketId, Then};
use crate::fleet::SubscriptionParams;
use crate::history::{Ephemeral, LeaveReason, RoomEvent};
use crate::ids::{Half, Identity, ParticipantId, TrackId};

impl Room {
    /// Handles a request. `unix_s` is `now` in seconds since 1970.
    pub fn handle_request(
        &mut self,
        socket: SocketId,
        id: Option<u32>,
        request: Request,
        (now, unix_s): (Instant, u64),
    ) {
        let to = ReplyTo { socket, id };
        let Some(participant) = self.participant_by_socket.get(&socket).cloned() else {
            let refusal = Refusal::new(ErrorCode::NotJoined, "this socket is not in the room");
            return self.refuse(to, refusal);
        };
        let done = match request {
            Request::Offer(offer) => {
                self.enqueue(&participant, Half::Publish, Job::Offer { to, offer }, now)
            }
            Request::Answer { revision, sdp } => {
                let job = Job::Answer { to, revision, sdp };
                self.enqueue(&participant, Half::Subscribe, job, now)
            }
            Request::Candidate { half, candidate } => {
                self.enqueue(&participant, half, Job::Candidate { to, candidate }, now)
            }
            Request::Subscribe { tracks } => self.subscribe(to, &participant, tracks, now),
            Request::Unsubscribe { tracks } => self.unsubscribe(to, &participant, tracks, now),
            Request::Mute { track, muted } => self.mute(to, &participant, (&track, muted), now),
            Request::Message {
                topic,
                payload,
                to: list,
                persistence,
            } => self.message(to, &participant, (topic, payload, list, persistence), now),
            Request::IceServers => {
                let relays = self.relays(&participant, unix_s);
                self.reply(socket, Some(Notice::IceServers { id, relays }));
                Ok(())
            }
            Request::Leave => {
                self.reply(socket, Notice::ok(id));
                self.leave(&participant, LeaveReason::Left, now);
                Ok(())
            }
        };
        if let Err(refusal) = done {
            self.refuse(to, refusal);
        }
    }

    fn enqueue(
        &mut self,
        participant: &ParticipantId,
        half: Half,
        job: Job,
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member_by_id.get(participant);
        let id = member.map(|member| member.session(half));
        let session = id.as_ref().and_then(|id| self.session_by_id.get_mut(id));
        if !session.is_some_and(|session| session.push(job)) {
            let limit = crate::limits::SESSION_JOBS;
            let said = format!("{limit} requests are waiting for the data plane already");
            return Err(Refusal::new(ErrorCode::TooFast, said));
        }
        if let Some(id) = id {
            self.advance(&id, now);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        tracks: Vec<(TrackId, SubscriptionParams)>,
        now: Instant,
    ) -> Result<(), Refusal> {
        for (track, _) in &tracks {
            match self.roster.track(track) {
                Some((owner, _)) if owner != participant => {}
                Some(_) => {
                    let said = format!("track '{track}' is your own");
                    return Err(Refusal::new(ErrorCode::UnknownTrack, said));
                }
                None => return Err(unknown_track(track)),
            }
        }
        if let Some(member) = self.member_by_id.get_mut(participant) {
            for (track, params) in tracks {
                member.subscriptions.subscribe(&track, params);
            }
        }
        self.reply(to.socket, Notice::ok(to.id));
        self.push_subscriptions(participant, now);
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        tracks: Vec<TrackId>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if let Some(unknown) = tracks
            .iter()
            .find(|track| self.roster.track(track).is_none())
        {
            return Err(unknown_track(unknown));
        }
        if let Some(member) = self.member_by_id.get_mut(participant) {
            for track in tracks {
                member.subscriptions.unsubscribe(&track);
                member.subscriptions.declined.insert(track);
            }
        }
        self.reply(to.socket, Notice::ok(to.id));
        self.push_subscriptions(participant, now);
        Ok(())
    }

    fn mute(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        (track, muted): (&TrackId, bool),
        now: Instant,
    ) -> Result<(), Refusal> {
        let member = self.member_by_id.get(participant);
        let published = member.and_then(|m| m.track_by_id.get(track));
        let published = published.ok_or_else(|| {
            let said = format!("track '{track}' is not published by you");
            Refusal::new(ErrorCode::UnknownTrack, said)
        })?;
        if published.track.muted == muted {
            self.reply(to.socket, Notice::ok(to.id));
            return Ok(());
        }
        self.charge_mute(participant, now)?;
        let member = self.member_by_id.get_mut(participant);
        if let Some(published) = member.and_then(|m| m.track_by_id.get_mut(track)) {
            published.track.muted = muted;
        }
        let job = Job::Mute {
            track: track.clone(),
        };
        let event = RoomEvent::TrackMuted {
            participant: participant.clone(),
            track: track.clone(),
            muted,
        };
        let then = Then::Reply {
            socket: to.socket,
            id: to.id,
            notice: Notice::ok(to.id),
        };
        self.append(event, None, then);
        // The room has the new state already. If too many jobs wait, the node gets it with the next
        // offer.
        let _ = self.enqueue(participant, Half::Publish, job, now);
        Ok(())
    }

    fn message(
        &mut self,
        to: ReplyTo,
        participant: &ParticipantId,
        (topic, payload, recipients, persistence): (
            String,
            serde_json::Value,
            Option<Vec<Identity>>,
            Persistence,
        ),
        now: Instant,
    ) -> Result<(), Refusal> {
        // Hidden participants are not in the roster, so a message to one is refused like a message
        // to an absent one.
        let absent = |identity: &&Identity| self.roster.by_identity(identity).is_none();
        if let Some(unknown) = recipients.iter().flatten().find(absent) {
            let said = format!("no participant in this room has the identity '{unknown}'");
            return Err(Refusal::new(ErrorCode::UnknownParticipant, said));
        }
        let bytes = topic.len() + payload.to_string().len();
        self.charge_message(participant, (bytes, recipients.as_deref()), now)?;
        let Some(member) = self.member_by_id.get(participant) else {
            return Ok(());
        };
        let (participant, identity) = (participant.clone(), member.identity.clone());
        if persistence == Persistence::Ephemeral {
            let message = Ephemeral {
                participant,
                identity,
                topic,
                payload,
                to: recipients,
            };
            self.outputs.push_back(Output::Publish { message });
            self.reply(to.socket, Notice::ok(to.id));
            return Ok(());
        }
        let event = RoomEvent::Message {
            participant,
            identity,
            topic,
            payload,
        };
        let then = Then::Confirm {
            socket: to.socket,
            id: to.id,
        };
        self.append(event, recipients, then);
        Ok(())
    }
}

pub(super) fn unknown_track(track: &TrackId) -> Refusal {
    let said = format!("no participant publishes track '{track}'");
    Refusal::new(ErrorCode::UnknownTrack, said)
}
