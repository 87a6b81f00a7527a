//! Restores participants from the annotations of their sessions on a node, after a restart of this
//! server.

use std::time::Instant;

use super::member::{Attachment, Member, StayLimits, Subscriptions};
use super::session::State;
use super::{ORPHANED, Output, Room, Sessions, Then};
use crate::auth::Grants;
use crate::fleet::HeldSession;
use crate::history::{Participant, RoomEvent};
use crate::ids::{Half, Identity};

/// The publish and subscribe session of one participant on a node; `None` if the node has no such
/// session.
#[derive(Debug, Default)]
pub(super) struct SessionPair {
    pub(super) publish: Option<HeldSession>,
    pub(super) subscribe: Option<HeldSession>,
}

/// Identity and grants of a participant, from its token or from the annotation of a session.
pub(super) struct ParticipantClaims {
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) grants: Grants,
    pub(super) auto_subscribe: bool,
}

impl SessionPair {
    /// Selects the sessions named by `sessions` from `held`.
    pub(super) fn of(sessions: &Sessions, held: Vec<HeldSession>) -> Self {
        let mut pair = Self::default();
        for session in held {
            let id = &session.session;
            if id.participant == sessions.participant && id.generation == sessions.generation {
                match id.half {
                    Half::Publish => pair.publish = Some(session),
                    Half::Subscribe => pair.subscribe = Some(session),
                }
            }
        }
        pair
    }

    fn each(&self) -> [(Half, Option<&HeldSession>); 2] {
        [
            (Half::Publish, self.publish.as_ref()),
            (Half::Subscribe, self.subscribe.as_ref()),
        ]
    }
}

impl Room {
    /// Restores a participant of an earlier process of this server. The participant's client has
    /// the grace time to reconnect.
    pub(super) fn restore(&mut self, sessions: Sessions, pair: SessionPair, now: Instant) {
        let mut ids = sessions.ids().into_iter();
        if ids.any(|id| self.session_by_id.contains_key(&id)) {
            return; // it has left, and its sessions are being closed
        }
        let of = |held: &Option<HeldSession>| held.as_ref()?.annotation.clone();
        let annotation = of(&pair.publish).or_else(|| of(&pair.subscribe));
        let rejoined = annotation.as_ref().is_some_and(|annotation| {
            let identity = &annotation.identity;
            self.member_by_identity.contains_key(identity)
                || self.roster.by_identity(identity).is_some()
        });
        let annotation = match annotation {
            Some(annotation) if !rejoined && annotation.room == self.name => annotation,
            Some(_) | None => return self.close_sessions(&sessions, ORPHANED, now),
        };
        let attachment = Attachment::Away {
            until: now + self.config.limits.grace,
        };
        let claims = ParticipantClaims {
            identity: annotation.identity,
            name: annotation.name,
            grants: annotation.grants,
            auto_subscribe: annotation.auto_subscribe,
        };
        // The client can only resume with its resume key, which contains these values.
        let stay = StayLimits {
            since: (self.epoch.clone(), self.roster.offset()),
            joined_s: 0,
            token_ends_s: 0,
        };
        let hidden = claims.grants.hidden;
        let member = member_of(&sessions, claims, &pair, (attachment, stay));
        let participant = member.listed();
        let is_lost = pair.subscribe.is_none() && member.grants.subscribe;
        self.add_with_sessions(member, &pair);
        if is_lost {
            // The client's connection for it would not fit a new session.
            self.lose(&participant.participant, None, now);
        }
        if !hidden {
            let event = RoomEvent::ParticipantJoined { participant };
            self.append(event, None, Then::Nothing);
        }
    }

    /// Adds a member whose sessions exist already.
    pub(super) fn add_with_sessions(&mut self, member: Member, pair: &SessionPair) {
        let (participant, node) = (member.participant.clone(), member.node.clone());
        let (generation, sessions) = (member.generation, member.sessions());
        self.outputs.push_back(Output::TakeLease {
            node: node.clone(),
            sessions,
        });
        self.add_member(member);
        for (half, held) in pair.each() {
            let Some(held) = held else {
                continue;
            };
            let state = State::Established {
                connected_shard: held.connected_shard,
                outstanding: held.outstanding_offer.clone(),
            };
            let id = participant.session(half, generation);
            self.begin_session(id, node.clone(), state);
        }
    }
}

/// Makes a member from sessions that exist already.
pub(super) fn member_of(
    sessions: &Sessions,
    claims: ParticipantClaims,
    pair: &SessionPair,
    (attachment, stay): (Attachment, StayLimits),
) -> Member {
    let tracks = pair.publish.iter().flat_map(|held| &held.tracks);
    let published = tracks.map(|track| (track.track.track.clone(), track.clone()));
    let mut subscriptions = Subscriptions::default();
    for (track, params) in pair.subscribe.iter().flat_map(|held| &held.subscriptions) {
        subscriptions.known.insert(track.clone());
        subscriptions.params_by_track.insert(track.clone(), *params);
    }
    Member {
        participant: sessions.participant.clone(),
        identity: claims.identity,
        name: claims.name,
        grants: claims.grants,
        auto_subscribe: claims.auto_subscribe,
        node: sessions.node.clone(),
        generation: sessions.generation,
        attachment,
        stay,
        ends_at: None,
        must_report_lost: false,
        track_by_id: published.collect(),
        subscriptions,
    }
}

impl Member {
    /// The member as an entry of the room's list of participants.
    pub(super) fn listed(&self) -> Participant {
        let tracks = self.track_by_id.values();
        Participant {
            participant: self.participant.clone(),
            identity: self.identity.clone(),
            name: self.name.clone(),
            tracks: tracks.map(|published| published.track.clone()).collect(),
            node: self.node.clone(),
            generation: self.generation,
        }
    }
}
