//! Invariant 7: no session, track or subscription is without an owner, and what is announced is there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use spillway_controlplane::ids::{RoomName, SessionId};
use spillway_wire::dataplane as proto;

use crate::coverage::State;
use crate::node::{NodeReply, NodeResult};
use crate::world::World;
use crate::world::person::{Link, room_name};

/// Time in which sessions of participants that left are closed, also of dead servers: a lease and its checks.
const SESSION: Duration = Duration::from_secs(23 + 10 + 5);
/// Time in which a subscription ends after its track.
const SUBSCRIPTION: Duration = Duration::from_secs(10);
/// Time in which a server takes over the lease of a session.
const FOREIGN: Duration = Duration::from_secs(5);
/// Time in which a track without media is unpublished.
const SILENT: Duration = Duration::from_secs(30 + 10);

/// What the store lists.
#[derive(Default)]
pub(super) struct Listed {
    participants: BTreeSet<String>,
    pub(super) tracks: BTreeSet<String>,
    /// Tracks with the node that they are announced on.
    places: BTreeSet<(String, String)>,
}

impl World {
    /// A node has answered the world's own question for its state.
    pub(in crate::world) fn on_state(&mut self, node: usize, result: NodeResult) {
        let Ok(NodeReply::State(state)) = result else {
            return;
        };
        let now = self.clock.now();
        let addr = self.nodes[node].addr;
        let listed = self.listed();
        let is_calm = self.is_calm_everywhere();
        let mut wrong = Vec::new();
        let mut there = BTreeSet::new();
        for session in &state.sessions {
            self.note_shard(addr, session);
            wrong.extend(self.check_session(addr, session, &listed, is_calm));
            there.extend(session.tracks.iter().map(|track| track.track.clone()));
        }
        let names: BTreeSet<&String> = state.sessions.iter().map(|one| &one.session).collect();
        let orphans = &mut self.checks.orphans;
        let is_there = |of: &SocketAddr, session: &String| *of != addr || names.contains(session);
        orphans.sessions.keep(|(of, session)| is_there(of, session));
        orphans.leases.keep(|(of, session)| is_there(of, session));
        orphans.foreign.keep(|(of, session)| is_there(of, session));
        orphans
            .tracks
            .keep(|(of, session, _)| is_there(of, session));
        let name = self.nodes[node].name.to_string();
        for (track, place) in listed.places.iter().filter(|(_, place)| *place == name) {
            let is_silent = is_calm && !there.contains(track);
            let key = (addr, track.clone());
            if self.checks.orphans.silent.note(key, is_silent, now) > SILENT {
                wrong.push(format!("{track} is announced and not on {place}"));
            }
        }
        let tracks = &listed.tracks;
        let silent = &mut self.checks.orphans.silent;
        silent.keep(|(of, track)| *of != addr || tracks.contains(track));
        for seen in wrong {
            self.violate(7, seen);
        }
    }

    /// Notes on which shard a session is. A session that has moved counts in the table of faults and states.
    fn note_shard(&mut self, addr: SocketAddr, session: &proto::Session) {
        let Some(shard) = session.shard else {
            return;
        };
        let key = (addr, session.session.clone());
        let before = self.checks.orphans.shards.insert(key, shard);
        if before.is_some_and(|before| before != shard) {
            for fault in &self.active {
                self.coverage.meet(fault.kind, State::Moving);
            }
        }
    }

    fn check_session(
        &mut self,
        addr: SocketAddr,
        session: &proto::Session,
        listed: &Listed,
        is_calm: bool,
    ) -> Vec<String> {
        let now = self.clock.now();
        let mut wrong = Vec::new();
        let owners: Vec<&str> = self
            .servers
            .iter()
            .filter_map(|host| Some(host.server.as_ref()?.owner()))
            .collect();
        let has_owner = owners.contains(&&*session.owner);
        let name = &session.session;
        let serves = self.server_of(session);
        let orphans = &mut self.checks.orphans;
        let participant = name
            .parse::<SessionId>()
            .map(|id| id.participant.to_string());
        let is_listed = participant.is_ok_and(|id| listed.participants.contains(&id));
        let key = (addr, name.clone());
        if orphans
            .sessions
            .note(key.clone(), !is_listed && is_calm, now)
            > SESSION
        {
            wrong.push(format!("session {name} has no participant"));
        }
        let is_foreign = serves.as_ref().is_some_and(|owner| *owner != session.owner);
        if orphans
            .foreign
            .note(key.clone(), is_foreign && is_calm, now)
            > FOREIGN
        {
            let (owner, serves) = (&session.owner, serves.unwrap_or_default());
            wrong.push(format!(
                "session {name} has the lease of '{owner}', and '{serves}' serves it"
            ));
        }
        if orphans.leases.note(key, !has_owner && is_calm, now) > SESSION {
            wrong.push(format!("session {name} has no server: '{}'", session.owner));
        }
        let published = session.tracks.iter().map(|track| &track.track);
        let subscribed = session.subscriptions.iter().map(|one| &one.track);
        for track in published.chain(subscribed) {
            let key = (addr, name.clone(), track.clone());
            let is_orphan = is_calm && is_listed && !listed.tracks.contains(track);
            if orphans.tracks.note(key, is_orphan, now) > SUBSCRIPTION {
                wrong.push(format!("{track} of session {name} is in no room"));
            }
        }
        wrong
    }

    pub(super) fn listed(&self) -> Listed {
        let mut listed = Listed::default();
        for room in 0..self.size.rooms {
            let name = room_name(room).parse::<RoomName>();
            let stored = name.ok().and_then(|name| self.store.memory().peek(&name));
            for participant in stored.into_iter().flat_map(|(_, _, all)| all) {
                listed
                    .participants
                    .insert(participant.participant.to_string());
                for track in &participant.tracks {
                    listed.tracks.insert(track.track.to_string());
                    let place = (track.track.to_string(), track.node.to_string());
                    listed.places.insert(place);
                }
            }
        }
        listed
    }

    /// Owner name of the server that serves the participant of a session.
    fn server_of(&self, session: &proto::Session) -> Option<String> {
        let id: SessionId = session.session.parse().ok()?;
        let id = id.participant.to_string();
        let mut people = self.people.iter();
        let person = people.find(|person| {
            let stay = person.signaling.stay.as_ref();
            person.signaling.is_joined && stay.is_some_and(|stay| stay.participant == id)
        })?;
        let Link::Open { server, .. } = person.link else {
            return None;
        };
        let server = self.servers[server].server.as_ref()?;
        Some(server.owner().to_owned())
    }

    /// True if no server, node, connection or store has a fault.
    fn is_calm_everywhere(&self) -> bool {
        let mut active = self.active.iter();
        !active.any(|fault| !fault.kind.is_of_person())
    }
}
