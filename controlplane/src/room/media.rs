//! The data plane's side of the room: its events, its death, its return, and what it still knew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::lane::Job;
use super::member::{Attachment, Member, Outstanding};
use super::takeover::sessions_of;
use super::{Media, Output, Room, Then, media_frame};
use crate::history::RoomEvent;
use crate::ids::{Half, ParticipantId, SessionId, TrackId};
use crate::limits::REOFFER_TIME;
use crate::signaling::{ErrorCode, Frame, MediaState, MidTrack, Refusal, ServerMessage};
use spillway_wire::dataplane as wire;

/// The reason of a `layer` with which a subscription ended: the client's answer does not take its m-line.
const REJECTED: &str = "rejected";

/// Why a session ends that no participant here has.
pub(super) const LEFT_BEHIND: &str = "nobody knows this session";

/// What the data plane says of one session, or of tracks.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // dataplane.proto is their documentation
pub enum NodeEvent {
    Connected {
        session: SessionId,
        shard: u32,
    },
    Closed {
        session: SessionId,
        failure: Option<String>,
    },
    Offer {
        session: SessionId,
        offer: wire::Offer,
    },
    Layer(wire::LayerChanged, SessionId),
    Levels {
        shard: u32,
        levels: Vec<(TrackId, u32)>,
    },
}

impl Room {
    /// Something happened to a session of a participant of this server.
    pub fn handle_node_event(&mut self, event: NodeEvent, now: Instant) {
        match event {
            NodeEvent::Connected { session, shard } => self.connected(&session, Some(shard)),
            NodeEvent::Closed { session, failure } => {
                self.session_closed(&session, failure.as_deref(), now);
            }
            NodeEvent::Offer { session, offer } => self.offered(&session, &offer),
            NodeEvent::Layer(layer, session) => self.layer_changed(&session, &layer, now),
            NodeEvent::Levels { shard, levels } => {
                let roster = &self.roster;
                let owner = |track: &TrackId| roster.track(track).map(|(owner, _)| owner.clone());
                let changed = self.speakers.handle_report(shard, levels, owner, now);
                let frame =
                    changed.map(|speakers| Frame::of(&ServerMessage::Speakers { speakers }));
                self.tell_everybody(frame);
            }
        }
    }

    /// The data plane died, and every session with it.
    pub fn handle_media_lost(&mut self, now: Instant) {
        if self.media == Media::Lost {
            return;
        }
        self.media = Media::Lost;
        let frame = self.speakers.clear();
        let frame = frame.map(|speakers| Frame::of(&ServerMessage::Speakers { speakers }));
        self.tell_everybody(frame);
        for participant in self.member_ids() {
            self.lose(&participant, None, now);
        }
        // Sessions to be closed died with the rest.
        self.lane_by_session.retain(|_, lane| !lane.closing);
    }

    /// A data plane is connected and holds these sessions of the room, and no others.
    pub fn handle_media_synced(&mut self, sessions: Vec<wire::Session>, now: Instant) {
        let mut held = BTreeMap::new();
        for session in sessions {
            if let Some(key) = SessionId::parse(&session.session) {
                held.insert(key, session);
            }
        }
        for participant in self.member_ids() {
            self.reconcile(&participant, &held, now);
        }
        let was_lost = std::mem::replace(&mut self.media, Media::Up) == Media::Lost;
        let unknown = held
            .iter()
            .filter(|((participant, _), _)| !self.member_by_id.contains_key(participant));
        // Where others serve the same rooms, what is unknown here is theirs, unless it is ours and was left behind.
        let unknown: BTreeSet<_> = unknown
            .filter(|(_, session)| !self.config.is_shared || session.owner == self.config.owner)
            .map(|((participant, _), _)| participant.clone())
            .collect();
        for participant in unknown {
            let mut take = |half| held.remove(&(participant.clone(), half));
            let halves = (take(Half::Publish), take(Half::Subscribe));
            match self.config.is_shared {
                false => self.adopt(participant, halves, now),
                // One that is listed moves to another server just now.
                true if self.roster.participant(&participant).is_some() => {}
                true => self.close_sessions(&participant, LEFT_BEHIND, now),
            }
        }
        for participant in self.member_ids() {
            if was_lost {
                self.media_ready(&participant, now);
            }
            self.prepare_subscribe(&participant, now);
        }
        let sessions: Vec<_> = self.lane_by_session.keys().cloned().collect();
        for session in sessions {
            if let Some(lane) = self.lane_by_session.get_mut(&session) {
                lane.paused_until = None;
            }
            self.advance(&session, now);
        }
    }

    /// Tracks whose publisher did not offer again in time.
    pub(super) fn unpublish_silent(&mut self, participant: &ParticipantId, now: Instant) {
        let late = |m: &&mut Member| m.publish.reoffer_until.is_some_and(|until| until <= now);
        let Some(member) = self.member_by_id.get_mut(participant).filter(late) else {
            return;
        };
        member.publish.reoffer_until = None;
        for track in std::mem::take(&mut member.publish.track_by_id).into_keys() {
            let participant = participant.clone();
            let event = RoomEvent::TrackUnpublished { participant, track };
            self.append(event, None, Then::Nothing);
        }
    }

    fn connected(&mut self, session: &SessionId, shard: Option<u32>) {
        let Some((participant, half)) = SessionId::parse(session.as_str()) else {
            return;
        };
        if let Some(member) = self.member_by_id.get_mut(&participant) {
            match half {
                Half::Publish => member.publish.connected_shard = shard,
                Half::Subscribe => member.subscribe.connected_shard = shard,
            }
        }
    }

    pub(super) fn offered(&mut self, session: &SessionId, offer: &wire::Offer) {
        let Some((participant, Half::Subscribe)) = SessionId::parse(session.as_str()) else {
            return;
        };
        let Some(member) = self.member_by_id.get_mut(&participant) else {
            return;
        };
        let mid_track = |mid: &wire::MidTrack| {
            let track = mid.track.parse().ok()?;
            let mid = mid.mid.clone();
            Some(MidTrack { mid, track })
        };
        let tracks: Vec<_> = offer.mids.iter().filter_map(mid_track).collect();
        let frame = Frame::of(&ServerMessage::Offer {
            revision: offer.revision,
            sdp: &offer.sdp,
            tracks: &tracks,
        });
        let revision = offer.revision;
        if member
            .subscribe
            .outstanding
            .as_ref()
            .is_some_and(|o| o.revision == revision)
        {
            return;
        }
        member.subscribe.outstanding = Some(Outstanding {
            revision,
            frame: frame.clone(),
        });
        if let Some(socket) = member.socket() {
            self.outputs.push_back(Output::Send { socket, frame });
        }
    }

    fn layer_changed(&mut self, session: &SessionId, layer: &wire::LayerChanged, now: Instant) {
        let Some((participant, _)) = SessionId::parse(session.as_str()) else {
            return;
        };
        let Some(member) = self.member_by_id.get_mut(&participant) else {
            return;
        };
        let Ok(track) = layer.track.parse::<TrackId>() else {
            return;
        };
        let reason = Some(&*layer.reason).filter(|reason| !reason.is_empty());
        let ended = reason == Some(REJECTED) && member.subscribe.unwant(&track);
        if ended {
            // Not until the client asks for it again.
            member.subscribe.declined.insert(track.clone());
        }
        if let Some(socket) = member.socket() {
            let frame = Frame::of(&ServerMessage::Layer {
                track: &track,
                rid: &layer.rid,
                active: layer.active,
                reason,
            });
            self.outputs.push_back(Output::Send { socket, frame });
        }
        if ended {
            self.push_subscriptions(&participant, now);
        }
    }

    /// One session ended by itself; its twin is of no use to the client either.
    fn session_closed(&mut self, session: &SessionId, failure: Option<&str>, now: Instant) {
        let Some((participant, half)) = SessionId::parse(session.as_str()) else {
            return;
        };
        let established = self.member_by_id.get(&participant).map(|m| match half {
            Half::Publish => m.publish.established,
            Half::Subscribe => m.subscribe.established,
        });
        if established == Some(true) {
            self.lose(&participant, failure, now);
            self.media_ready(&participant, now);
            self.prepare_subscribe(&participant, now);
        }
    }

    /// The participant must start over with new peer connections, because a handshake failed or for another reason; its
    /// tracks stay listed.
    fn lose(&mut self, participant: &ParticipantId, failure: Option<&str>, now: Instant) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        member.publish.established = false;
        member.publish.connected_shard = None;
        let reoffers = !member.publish.track_by_id.is_empty();
        if reoffers {
            member.publish.reoffer_until = Some(now + REOFFER_TIME);
        }
        member.subscribe.lose();
        match member.attachment {
            Attachment::Attached(socket) => {
                let frame = media_frame(MediaState::Lost, failure);
                self.outputs.push_back(Output::Send { socket, frame });
            }
            Attachment::Entering(_) | Attachment::Away { .. } => member.owes_lost = true,
        }
        if reoffers {
            self.wake(participant, now + REOFFER_TIME);
        }
        let refusal = Refusal::new(ErrorCode::MediaUnavailable, "the media session was lost");
        for half in [Half::Publish, Half::Subscribe] {
            let session = participant.session(half);
            let lane = self.lane_by_session.get_mut(&session);
            for to in lane.map_or(Vec::new(), |lane| lane.reset()) {
                self.refuse(to, &refusal);
            }
            // When the data plane died this fails and is not tried again: the lane is reset.
            if self.media == Media::Up {
                self.push_own(
                    participant,
                    half,
                    Job::Close {
                        reason: "media lost",
                    },
                    now,
                );
            }
        }
    }

    pub(super) fn media_ready(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let reoffers = member.publish.reoffer_until.is_some();
        if reoffers {
            member.publish.reoffer_until = Some(now + REOFFER_TIME);
        }
        if let Some(socket) = member.socket() {
            let frame = media_frame(MediaState::Ready, None);
            self.outputs.push_back(Output::Send { socket, frame });
        }
        if reoffers {
            self.wake(participant, now + REOFFER_TIME);
        }
    }

    /// Compares what we believe of a participant with what the data plane holds.
    fn reconcile(
        &mut self,
        participant: &ParticipantId,
        held: &BTreeMap<(ParticipantId, Half), wire::Session>,
        now: Instant,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let publish = held.get(&(participant.clone(), Half::Publish));
        let subscribe = held.get(&(participant.clone(), Half::Subscribe));
        let vanished = (member.publish.established && publish.is_none())
            || (member.subscribe.established && subscribe.is_none());
        if vanished {
            self.lose(participant, None, now);
            if self.media == Media::Up {
                self.media_ready(participant, now);
            }
            return;
        }
        let mut sessions = [publish, subscribe].into_iter().flatten();
        if sessions.any(|session| session.owner != self.config.owner) {
            let sessions = sessions_of(participant);
            self.outputs.push_back(Output::Take { sessions });
        }
        // A reply that was lost on its way left us behind what the data plane did.
        let mut muted_wrong = Vec::new();
        if let Some(session) = publish.filter(|_| member.publish.established) {
            for track in &session.tracks {
                let ours = track.track.parse().ok();
                let ours = ours.and_then(|id| member.publish.track_by_id.get(&id));
                if let Some(ours) = ours.filter(|ours| ours.track.muted != track.muted) {
                    muted_wrong.push(ours.track.track.clone());
                }
            }
        }
        if let Some(session) = subscribe {
            member.subscribe.established = true;
            let known = session
                .subscriptions
                .iter()
                .filter_map(|s| s.track.parse().ok());
            for track in known {
                member.subscribe.known.insert(TrackId::clone(&track));
                member.subscribe.dirty.insert(track);
            }
            let wanted = member.subscribe.wish_by_track.keys().cloned();
            member.subscribe.dirty.extend(wanted);
            match &session.outstanding_offer {
                Some(offer) => self.offered(&participant.session(Half::Subscribe), offer),
                None => member.subscribe.outstanding = None,
            }
        }
        for track in muted_wrong {
            self.push_own(participant, Half::Publish, Job::Annotate { track }, now);
        }
        for (half, session) in [(Half::Publish, publish), (Half::Subscribe, subscribe)] {
            let shard = session.filter(|s| s.connected).and_then(|s| s.shard);
            self.connected(&participant.session(half), shard);
        }
    }

    fn tell_everybody(&mut self, frame: Option<Frame>) {
        self.outputs
            .extend(frame.map(|frame| Output::Tell { frame }));
    }
}
