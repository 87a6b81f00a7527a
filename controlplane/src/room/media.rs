//! Events of nodes: a node ends or returns, a session connects or ends, levels and layers change.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use super::member::Attachment;
use super::restore::SessionPair;
use super::session::{Job, State};
use super::{
    ErrorCode, Media, MediaState, NodeSync, Notice, ORPHANED, Output, Refusal, Room, Sessions, Then,
};
use crate::fleet::{HeldSession, NodeEvent, Offer};
use crate::history::RoomEvent;
use crate::ids::{Half, NodeId, ParticipantId, SessionId, TrackId};
use crate::limits::REOFFER_TIME;

/// Reason of a `layer` event for a subscription that ended because the client's answer rejected its
/// m-line.
const REJECTED: &str = "rejected";

impl Room {
    /// Handles an event about a session of a participant of this server, or about tracks of the
    /// room.
    pub fn handle_node_event(&mut self, node: &NodeId, event: NodeEvent, now: Instant) {
        match event {
            NodeEvent::Connected { session, shard } => {
                if let Some(session) = self.session_by_id.get_mut(&session) {
                    session.connected(Some(shard));
                }
            }
            NodeEvent::Closed { session, failure } => {
                self.session_closed(&session, failure.as_deref(), now);
            }
            NodeEvent::Offer { session, offer } => self.offered(&session, &offer),
            NodeEvent::Layer {
                session,
                track,
                rid,
                is_active,
                reason,
            } => {
                let notice = Notice::Layer {
                    track: track.clone(),
                    rid,
                    is_active,
                    reason: reason.clone(),
                };
                self.layer_changed(&session, (&track, reason.as_deref()), notice, now);
            }
            NodeEvent::Levels { shard, levels } => {
                let roster = &self.roster;
                let owner = |track: &TrackId| roster.track(track).map(|(owner, _)| owner.clone());
                let reporter = (node.clone(), shard);
                let changed = self.speakers.handle_report(reporter, levels, owner, now);
                let speakers = changed.map(<[_]>::to_vec);
                self.broadcast(speakers.map(Notice::Speakers));
            }
        }
    }

    /// The node's data plane ended, and with it all its sessions.
    pub fn handle_node_lost(&mut self, node: &NodeId, now: Instant) {
        let facts = self.facts_by_node.entry(node.clone()).or_default();
        if std::mem::replace(&mut facts.media, Media::Lost) == Media::Lost {
            return;
        }
        let speakers = self.speakers.clear(node).map(<[_]>::to_vec);
        self.broadcast(speakers.map(Notice::Speakers));
        for participant in self.members_on(node) {
            self.lose(&participant, None, now);
        }
        // Sessions that were being closed have ended as well.
        self.session_by_id
            .retain(|_, session| session.node != *node || !session.is_closing() || session.end());
    }

    /// A node is connected, and reports its sessions of the room.
    pub fn handle_node_synced(&mut self, node: &NodeId, synced: NodeSync, now: Instant) {
        let facts = self.facts_by_node.entry(node.clone()).or_default();
        facts.turn_urls = synced.turn_urls;
        let was_lost = std::mem::replace(&mut facts.media, Media::Up) == Media::Lost;
        let by_id = |held: HeldSession| (held.session.clone(), held);
        let mut held: BTreeMap<SessionId, HeldSession> = {
            let sessions = synced.sessions.into_iter();
            sessions.map(by_id).collect()
        };
        if was_lost {
            self.close_early(node, &mut held, now);
        }
        let asked: Option<HashSet<SessionId>> = synced.asked.map(HashSet::from_iter);
        for participant in self.members_on(node) {
            let ids = self.member_by_id[&participant].sessions();
            let was_asked = |asked: &HashSet<SessionId>| ids.iter().all(|id| asked.contains(id));
            if asked.as_ref().is_none_or(was_asked) {
                self.reconcile(&participant, &held, was_lost, now);
            }
        }
        for sessions in self.orphaned_sessions(node, &held) {
            let ids = sessions.ids();
            let pair = SessionPair::of(
                &sessions,
                ids.iter().filter_map(|id| held.remove(id)).collect(),
            );
            match self.config.is_shared {
                false => self.restore(sessions, pair, now),
                true => self.close_sessions(&sessions, ORPHANED, now),
            }
        }
        for participant in self.members_on(node) {
            if was_lost {
                self.media_ready(&participant, now);
            }
            self.create_subscribe_session(&participant, now);
        }
        let on_node =
            |(_, session): &(&SessionId, &mut super::session::Session)| session.node == *node;
        let sessions = self.session_by_id.iter_mut().filter(on_node);
        let ids: Vec<SessionId> = sessions
            .map(|(id, session)| {
                session.end_pause();
                id.clone()
            })
            .collect();
        for id in ids {
            self.advance(&id, now);
        }
    }

    /// Closes sessions that commands have made on a new data plane before the loss of the last one was known: their clients
    /// have discarded the peer connections. They are removed from `held`.
    fn close_early(
        &mut self,
        node: &NodeId,
        held: &mut BTreeMap<SessionId, HeldSession>,
        now: Instant,
    ) {
        for participant in self.members_on(node) {
            for id in self.member_by_id[&participant].sessions() {
                let session = self.session_by_id.get(&id);
                let is_early = session.is_some_and(|session| !session.is_established());
                if is_early && held.remove(&id).is_some() {
                    let reason = "made before the media was lost";
                    self.push_own(&id, Job::Close { reason }, now);
                }
            }
        }
    }

    /// Sessions on the node without a participant, except sessions of other servers.
    fn orphaned_sessions(
        &self,
        node: &NodeId,
        held: &BTreeMap<SessionId, HeldSession>,
    ) -> BTreeSet<Sessions> {
        let is_unknown = |(id, held): &(&SessionId, &HeldSession)| {
            let member = self.member_by_id.get(&id.participant);
            let is_members = member.is_some_and(|member| member.generation == id.generation);
            // If other servers serve the room, unknown sessions are theirs, unless this server is
            // the owner.
            let is_ours = !self.config.is_shared || held.owner == self.config.owner;
            // A participant in the roster is moving to another server now.
            let listed = self.roster.participant(&id.participant);
            let moves = self.config.is_shared
                && listed.is_some_and(|listed| listed.generation == id.generation);
            !is_members && is_ours && !moves
        };
        let sessions = |(id, _): (&SessionId, &HeldSession)| Sessions {
            participant: id.participant.clone(),
            node: node.clone(),
            generation: id.generation,
        };
        held.iter().filter(is_unknown).map(sessions).collect()
    }

    /// Unpublishes tracks that their publisher did not offer again in time.
    pub(super) fn unpublish_silent(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let session = self.session_by_id.get_mut(&member.session(Half::Publish));
        let is_late = |session: &&mut super::session::Session| {
            session.reoffer_until().is_some_and(|until| until <= now)
        };
        let Some(session) = session.filter(is_late) else {
            return;
        };
        session.state = State::Absent;
        for track in std::mem::take(&mut member.track_by_id).into_keys() {
            let participant = participant.clone();
            let event = RoomEvent::TrackUnpublished { participant, track };
            self.append(event, None, Then::Nothing);
        }
    }

    pub(super) fn offered(&mut self, id: &SessionId, offer: &Offer) {
        let Some(member) = self.member_by_id.get(&id.participant) else {
            return;
        };
        let session = self.session_by_id.get_mut(id);
        let session = session.filter(|session| id.half == Half::Subscribe && !session.is_closing());
        if session.is_some_and(|session| session.offered(Some(offer)))
            && let Some(socket) = member.socket()
        {
            let notice = Notice::Offer(offer.clone());
            self.outputs.push_back(Output::Send { socket, notice });
        }
    }

    fn layer_changed(
        &mut self,
        id: &SessionId,
        (track, reason): (&TrackId, Option<&str>),
        notice: Notice,
        now: Instant,
    ) {
        let member = self.member_by_id.get_mut(&id.participant);
        let Some(member) = member.filter(|member| member.generation == id.generation) else {
            return;
        };
        let ended = reason == Some(REJECTED) && member.subscriptions.unsubscribe(track);
        if ended {
            // Not subscribed again until the client asks for it.
            member.subscriptions.declined.insert(track.clone());
        }
        if let Some(socket) = member.socket() {
            self.outputs.push_back(Output::Send { socket, notice });
        }
        if ended {
            self.push_subscriptions(&id.participant, now);
        }
    }

    /// A session ended without a command of this room. The client needs both sessions, so the other
    /// session is closed, too.
    fn session_closed(&mut self, id: &SessionId, failure: Option<&str>, now: Instant) {
        let session = self.session_by_id.get(id);
        if session.is_some_and(|session| session.is_established()) {
            self.lose(&id.participant, failure, now);
            self.media_ready(&id.participant, now);
            self.create_subscribe_session(&id.participant, now);
        }
    }

    /// Closes both sessions of a participant and tells its client to start new ones. Its tracks
    /// stay listed until the reoffer time has passed.
    pub(super) fn lose(
        &mut self,
        participant: &ParticipantId,
        failure: Option<&str>,
        now: Instant,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        member.subscriptions.lose();
        let reoffers = !member.track_by_id.is_empty();
        match member.attachment {
            Attachment::Attached(socket) => {
                let notice = Notice::media(MediaState::Lost, failure);
                self.outputs.push_back(Output::Send { socket, notice });
            }
            Attachment::Joining(_) | Attachment::Away { .. } => member.must_report_lost = true,
        }
        let is_up = self.media_of(&self.member_by_id[participant].node) == Media::Up;
        for id in self.member_by_id[participant].sessions() {
            let Some(session) = self.session_by_id.get_mut(&id) else {
                continue;
            };
            let is_in_flight = session.has_command_in_flight();
            session.state = match id.half {
                Half::Publish if reoffers => State::Lost {
                    until: now + REOFFER_TIME,
                },
                Half::Publish | Half::Subscribe => State::Absent,
            };
            for to in session.reset() {
                let said = "the media session was lost";
                self.refuse(to, Refusal::new(ErrorCode::MediaUnavailable, said));
            }
            // A data plane that has ended has no session to close, but a command in flight may make one on the next.
            if is_up || is_in_flight {
                let reason = "media lost";
                self.push_own(&id, Job::Close { reason }, now);
            }
        }
        if reoffers {
            self.wake(participant, now + REOFFER_TIME);
        }
    }

    pub(super) fn media_ready(&mut self, participant: &ParticipantId, now: Instant) {
        let Some(member) = self.member_by_id.get(participant) else {
            return;
        };
        let session = self.session_by_id.get_mut(&member.session(Half::Publish));
        let reoffers = match session.map(|session| &mut session.state) {
            Some(State::Lost { until }) => {
                *until = now + REOFFER_TIME;
                true
            }
            Some(_) | None => false,
        };
        if let Some(socket) = member.socket() {
            let notice = Notice::media(MediaState::Ready, None);
            self.outputs.push_back(Output::Send { socket, notice });
        }
        if reoffers {
            self.wake(participant, now + REOFFER_TIME);
        }
    }

    /// Compares a participant's state with the sessions that its node reports.
    fn reconcile(
        &mut self,
        participant: &ParticipantId,
        held: &BTreeMap<SessionId, HeldSession>,
        was_lost: bool,
        now: Instant,
    ) {
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let ids = member.sessions();
        let has_vanished = |id: &SessionId| {
            let session = self.session_by_id.get(id);
            session.is_some_and(|session| session.is_established()) && !held.contains_key(id)
        };
        if ids.iter().any(has_vanished) {
            self.lose(participant, None, now);
            if !was_lost {
                self.media_ready(participant, now);
            }
            return;
        }
        if let Some(theirs) = held.get(&ids[0])
            && self.has_refused_offer(&ids[0], theirs)
        {
            self.lose(participant, None, now);
            self.media_ready(participant, now);
            return self.create_subscribe_session(participant, now);
        }
        let Some(member) = self.member_by_id.get_mut(participant) else {
            return;
        };
        let mut sessions = ids.iter().filter_map(|id| held.get(id));
        if sessions.any(|session| session.owner != self.config.owner) {
            let (node, sessions) = (member.node.clone(), ids.clone());
            self.outputs.push_back(Output::TakeLease { node, sessions });
        }
        // If a reply was lost, the node has a newer state than the room.
        let [publish, subscribe] = ids.each_ref().map(|id| held.get(id));
        let mut muted_wrong = Vec::new();
        let ours = self.session_by_id.get(&ids[0]);
        if let Some(theirs) = publish.filter(|_| ours.is_some_and(|ours| ours.is_established())) {
            for track in theirs.tracks.iter().map(|published| &published.track) {
                let ours = member.track_by_id.get(&track.track);
                if ours.is_some_and(|ours| ours.track.muted != track.muted) {
                    muted_wrong.push(track.track.clone());
                }
            }
        }
        if let Some(theirs) = subscribe {
            let subscriptions = &mut member.subscriptions;
            for (track, _) in &theirs.subscriptions {
                subscriptions.known.insert(track.clone());
                subscriptions.dirty.insert(track.clone());
            }
            let wanted = subscriptions.params_by_track.keys().cloned();
            subscriptions.dirty.extend(wanted);
            let socket = member.socket();
            let offer = theirs.outstanding_offer.as_ref();
            let ours = self.session_by_id.get_mut(&ids[1]);
            let is_new = ours.is_some_and(|ours| ours.offered(offer));
            if let (true, Some(offer), Some(socket)) = (is_new, offer, socket) {
                let notice = Notice::Offer(offer.clone());
                self.outputs.push_back(Output::Send { socket, notice });
            }
        }
        for track in muted_wrong {
            self.push_own(&ids[0], Job::Mute { track }, now);
        }
        for (id, theirs) in ids.iter().zip([publish, subscribe]) {
            if let Some(session) = self.session_by_id.get_mut(id) {
                session.connected(theirs.and_then(|theirs| theirs.connected_shard));
            }
        }
    }

    /// True if the node has executed an offer after the room had given it up: it has tracks that the room does not know, and
    /// nothing is on its way that would change that.
    fn has_refused_offer(&self, id: &SessionId, theirs: &HeldSession) -> bool {
        let (Some(member), Some(ours)) = (
            self.member_by_id.get(&id.participant),
            self.session_by_id.get(id),
        ) else {
            return false;
        };
        let mut tracks = theirs.tracks.iter().map(|published| &published.track.track);
        ours.is_at_rest() && tracks.any(|track| !member.track_by_id.contains_key(track))
    }

    fn members_on(&self, node: &NodeId) -> Vec<ParticipantId> {
        let members = self.member_by_id.values();
        let on_node = members.filter(|member| member.node == *node);
        on_node.map(|member| member.participant.clone()).collect()
    }

    fn broadcast(&mut self, notice: Option<Notice>) {
        self.outputs
            .extend(notice.map(|notice| Output::Broadcast { notice }));
    }
}
