//! What must hold in a room after every step, when everything was answered, and at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use crate::history::{Participant, Roster};
use crate::ids::{Half, TrackId};

impl World {
    /// What must hold after every step.
    pub(super) fn check(&self) {
        let room = &self.room;
        assert_eq!(room.offset(), self.log.len() as u64);
        assert_eq!(
            room.roster, self.stored,
            "the roster results from the events"
        );
        for client in &self.clients {
            let Some(known) = client.present() else {
                continue;
            };
            assert_eq!(
                (&known.epoch, known.roster.offset()),
                (room.epoch(), room.offset())
            );
            let others = |roster: &Roster| -> Vec<Arc<Participant>> {
                let is_other = |p: &&Arc<Participant>| p.participant != known.participant;
                roster.participants().filter(is_other).cloned().collect()
            };
            assert_eq!(
                others(&known.roster),
                others(&room.roster),
                "{} knows another room",
                client.identity
            );
        }
        for client in &self.clients {
            let Some(known) = client.present() else {
                continue;
            };
            let member = &room.member_by_id[&known.participant];
            let wanted = &member.subscriptions.params_by_track;
            let is_back = |track: &&TrackId| wanted.contains_key(*track);
            assert_eq!(
                client.unsubscribed.iter().find(is_back),
                None,
                "{} did not ask for it",
                client.identity
            );
        }
        for (id, member) in &room.member_by_id {
            let is_listed = room.roster.participant(id).is_some();
            let is_open = member.grants.hidden || room.queued_by_id.contains_key(id);
            assert!(
                is_listed || is_open || self.has_store_failed,
                "{} is not listed",
                member.identity
            );
        }
        let members: BTreeSet<_> = room.member_ids().into_iter().collect();
        assert_eq!(self.routed.0, members, "events come of members");
        assert_eq!(
            self.routed.1,
            room.tracks().into_iter().collect(),
            "levels come of listed tracks"
        );
        assert_eq!(
            room.member_by_identity.len(),
            members.len(),
            "an identity is one member"
        );
        let hidden = room
            .member_by_id
            .values()
            .filter(|member| member.grants.hidden)
            .count();
        assert_eq!(room.hidden, hidden);
        let attached = room
            .member_by_id
            .values()
            .filter(|member| member.any_socket().is_some())
            .count();
        assert_eq!(room.participant_by_socket.len(), attached);
    }

    /// What must hold when everything was answered.
    pub(super) fn check_settled(&self) {
        self.check();
        let room = &self.room;
        for client in self.clients.iter().filter(|client| client.socket.is_some()) {
            assert!(
                client.replies.values().all(|replies| *replies == 1),
                "{:?} of {}",
                client.replies,
                client.identity
            );
        }
        assert!(room.queued_by_id.is_empty(), "{:?}", room.queued_by_id);
        for node in &self.nodes {
            for (id, held) in &node.session_by_id {
                if self.is_elsewhere(&id.participant) {
                    continue;
                }
                let member = room.member_by_id.get(&id.participant);
                let member = member.unwrap_or_else(|| panic!("session '{id}' of nobody"));
                assert_eq!(member.generation, id.generation);
                if id.half == Half::Subscribe {
                    let wanted: BTreeSet<_> = member
                        .subscriptions
                        .params_by_track
                        .iter()
                        .map(|(track, params)| (track.clone(), format!("{params:?}")))
                        .collect();
                    let found: BTreeSet<_> = held
                        .subscriptions
                        .iter()
                        .map(|(track, params)| (track.clone(), format!("{params:?}")))
                        .collect();
                    assert_eq!(found, wanted, "subscriptions of {}", member.identity);
                    assert!(
                        wanted
                            .iter()
                            .all(|(track, _)| room.roster.track(track).is_some())
                    );
                }
            }
        }
        for member in room
            .member_by_id
            .values()
            .filter(|member| member.socket().is_some())
        {
            let id = member.session(Half::Subscribe);
            let is_held = self
                .nodes
                .iter()
                .any(|node| node.session_by_id.contains_key(&id));
            assert!(is_held, "{} has no subscribe session", member.identity);
        }
    }

    /// What must hold when everybody has left.
    pub(super) fn check_empty(&mut self) {
        self.check_settled();
        let room = &mut self.room;
        assert_eq!((room.members(), room.roster.len()), (0, 0));
        assert!(room.session_by_id.is_empty(), "{:?}", room.session_by_id);
        assert!(
            self.nodes.iter().all(|node| node.session_by_id.is_empty()),
            "a node has sessions"
        );
        let later = self.now + Duration::from_secs(60);
        assert!(room.is_idle(later));
        room.handle_timeout(later);
        assert_eq!((room.poll_timeout(later), room.poll_output()), (None, None));
    }
}
