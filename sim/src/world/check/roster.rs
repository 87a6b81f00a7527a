//! Invariants 5 and 6: servers and clients have the roster of the store, and nobody is removed while talking.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_controlplane::history::Participant;
use spillway_controlplane::ids::{Epoch, RoomName};
use spillway_controlplane::limits::CALL_TIME;

use crate::client::roster::{Participant as Known, Roster};
use crate::clock::Time;
use crate::world::World;
use crate::world::hosts::GRACE;
use crate::world::person::{Link, room_name};

/// A server's roster beside the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    Same,
    Behind,
    /// At the same offset they differ.
    Other,
}

/// Time in which events must reach all servers and clients, after the last fault.
const SPREAD: Duration = Duration::from_secs(5);
/// Time after a fault in which requests may be refused: calls to nodes without an answer are given up.
const REFUSED: Duration = Duration::from_secs(5 + CALL_TIME.as_secs() + 1);
/// Time in which a participant of a dead server is removed: presence, its check, and a lease.
const GHOST: Duration = Duration::from_secs(30 + 10 + 25 + 5);
/// Time without faults that a person needs to be seen as one who talks.
const TALKING: Duration = Duration::from_secs(GRACE.as_secs() + 5);

impl World {
    pub(super) fn check_rosters(&mut self) {
        for room in 0..self.size.rooms {
            let Ok(name) = room_name(room).parse::<RoomName>() else {
                continue;
            };
            let stored = self.store.memory().peek(&name);
            self.check_servers(&name, stored.as_ref());
            if let Some((epoch, offset, participants)) = stored {
                self.check_people(room, (&epoch, offset), &participants);
                self.check_ghosts(room, &participants);
            }
        }
    }

    fn check_servers(&mut self, name: &RoomName, stored: Option<&(Epoch, u64, Vec<Participant>)>) {
        let now = self.clock.now();
        for number in 0..self.servers.len() {
            let compared = self.compare(number, name, stored);
            if compared == Some(Compared::Other) {
                let said = format!("server {number} has another roster of {name} than the store");
                return self.violate(5, said);
            }
            let is_behind = compared == Some(Compared::Behind) && self.is_store_calm(now);
            let key = (number, name.clone());
            if self.checks.lags.servers.note(key, is_behind, now) > SPREAD {
                self.violate(5, format!("server {number} is behind the store in {name}"));
            }
        }
    }

    /// Compares the room of a server with the store; `None` if the server does not have the room.
    fn compare(
        &self,
        server: usize,
        name: &RoomName,
        stored: Option<&(Epoch, u64, Vec<Participant>)>,
    ) -> Option<Compared> {
        let server = self.servers[server].server.as_ref()?;
        let (_, actor) = server.rooms().find(|(of, _)| *of == name)?;
        let (epoch, roster) = actor.roster();
        let same = stored.filter(|(of, offset, _)| of == epoch && *offset == roster.offset());
        Some(match same {
            None => Compared::Behind,
            Some((_, _, all)) if roster.to_vec() == *all => Compared::Same,
            Some(_) => Compared::Other,
        })
    }

    fn is_store_calm(&self, now: Time) -> bool {
        let faults = self.store.faults;
        faults == Default::default() && now.since(self.last_calm.store) > Duration::ZERO
    }

    fn check_people(
        &mut self,
        room: usize,
        (epoch, offset): (&Epoch, u64),
        participants: &[Participant],
    ) {
        let now = self.clock.now();
        let truth = known(participants);
        for index in 0..self.people.len() {
            let person = &self.people[index];
            if person.room != room {
                continue;
            }
            let (is_joined, stay) = (person.signaling.is_joined, &person.signaling.stay);
            let Some(stay) = stay.as_ref().filter(|_| is_joined) else {
                self.checks.lags.people.note(index, false, now);
                self.checks.lags.unlisted.note(index, false, now);
                continue;
            };
            let is_same = stay.epoch == epoch.to_string() && stay.offset == offset;
            if is_same
                && let Some(wrong) = difference(&person.signaling.roster, &truth, &stay.participant)
            {
                let said = format!("person {index} at {offset}: {wrong}");
                return self.violate(5, said);
            }
            let is_calm = self.calm_since(index, None).is_some();
            let is_unlisted = !truth.contains_key(&stay.participant);
            let behind = self
                .checks
                .lags
                .people
                .note(index, !is_same && is_calm, now);
            let unlisted = self
                .checks
                .lags
                .unlisted
                .note(index, is_unlisted && is_calm, now);
            if behind > SPREAD {
                let said = format!("person {index} is behind the history of its room at {offset}");
                return self.violate(5, said);
            }
            if unlisted > SPREAD {
                self.violate(
                    5,
                    format!("person {index} has joined and is not in the roster"),
                );
            }
        }
    }

    /// Participants whose people are not there.
    fn check_ghosts(&mut self, room: usize, participants: &[Participant]) {
        let now = self.clock.now();
        let own = |index: usize| {
            let stay = self.people[index].signaling.stay.as_ref();
            stay.map(|stay| stay.participant.clone())
        };
        let people = 0..self.people.len();
        let owned: Vec<String> = people.filter_map(own).collect();
        let is_calm = self.is_store_calm(now);
        let mut wrong = None;
        for participant in participants {
            let id = participant.participant.to_string();
            let is_ghost = !owned.contains(&id) && is_calm;
            if self.checks.lags.ghosts.note(id.clone(), is_ghost, now) > GHOST {
                wrong = Some(format!("{id} stays in room {room} without a client"));
            }
        }
        if let Some(wrong) = wrong {
            self.violate(7, wrong);
        }
    }

    /// Somebody heard that a participant left.
    pub(in crate::world) fn saw_leave(&mut self, _index: usize, participant: &str, reason: &str) {
        let now = self.clock.now();
        if reason == "left" {
            return;
        }
        let is_of = |person: &crate::world::person::Person| {
            let stay = person.signaling.stay.as_ref();
            person.signaling.is_joined && stay.is_some_and(|stay| stay.participant == participant)
        };
        let Some(index) = self.people.iter().position(is_of) else {
            return;
        };
        let person = &self.people[index];
        let is_open = matches!(person.link, Link::Open { .. });
        let joined = person.moments.joined;
        let calm = self.calm_since(index, None);
        if let (true, Some(joined), Some(calm)) = (is_open && person.wants_in, joined, calm)
            && now.since(joined.max(calm)) > TALKING
        {
            self.violate(
                6,
                format!("person {index} is removed while talking: {reason}"),
            );
        }
    }

    /// A request of a person was refused.
    pub(in crate::world) fn saw_refusal(&mut self, index: usize, kind: &str, code: &str) {
        let now = self.clock.now();
        let node = self.node_of(&self.people[index]);
        let nodes = self.last_calm_of_nodes();
        let calm = self.calm_since(index, node).map(|calm| calm.max(nodes));
        let is_calm = calm.is_some_and(|calm| now.since(calm) > REFUSED) && !self.has_dead_node();
        if self.people[index].misbehaves || !is_calm {
            return;
        }
        // A track may end, and an offer may be replaced, while the request is on its way.
        // After a loss, the answer to an offer of the lost session can meet the first offer of the next.
        let is_race = matches!(
            code,
            "unknown_track" | "stale_answer" | "unknown_participant"
        ) || (kind, code) == ("answer", "bad_sdp");
        // What was asked for a session that was lost meanwhile is refused.
        let lost = self.people[index].moments.lost;
        let was_lost = lost.is_some_and(|lost| now.since(lost) < SPREAD);
        let is_race = is_race || was_lost && code == "media_unavailable";
        if !is_race {
            self.violate(
                8,
                format!("person {index}: '{kind}' is refused with {code}"),
            );
        }
    }
}

/// The participants of the store, as clients know them.
fn known(participants: &[Participant]) -> BTreeMap<String, Known> {
    let of = |participant: &Participant| {
        let tracks = participant.tracks.iter();
        let known = Known {
            identity: participant.identity.to_string(),
            tracks: tracks
                .map(|track| (track.track.to_string(), track.muted))
                .collect(),
        };
        (participant.participant.to_string(), known)
    };
    participants.iter().map(of).collect()
}

/// How `roster` differs from the truth; the client's own entry does not count.
fn difference(roster: &Roster, truth: &BTreeMap<String, Known>, own: &str) -> Option<String> {
    let others = |(id, _): &(&String, &Known)| *id != own;
    let ours: BTreeMap<_, _> = roster.participants.iter().filter(others).collect();
    let theirs: BTreeMap<_, _> = truth.iter().filter(others).collect();
    if ours == theirs {
        return None;
    }
    for (id, known) in &ours {
        if theirs.get(id) != Some(known) {
            return Some(format!("{id} is {known:?} and not {:?}", theirs.get(id)));
        }
    }
    let missing = theirs.keys().find(|id| !ours.contains_key(*id));
    missing.map(|id| format!("{id} is missing"))
}
