//! What people do: they come and go, mute, hang up, choose what they get, and talk.

use std::time::Duration;

use serde_json::json;

use super::paths::is_of_path;
use super::person::Link;
use super::state::{Change, World};
use crate::fault::{Fault, FaultKind};

/// Place in each room of the person who stays longest.
const KEEPER: usize = 11;
/// Time for which this person stays after the others.
const KEEPER_STAYS: Duration = Duration::from_secs(55);

impl World {
    /// A person comes to the room.
    pub(super) fn enter(&mut self, index: usize) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if person.wants_in {
            return;
        }
        person.wants_in = true;
        person.moments.entered = now;
        for mid in 0..person.lines.len() {
            person.lines[mid].is_offered = person.publishes;
            person.lines[mid].is_muted = false;
        }
        if let Link::Closed { .. } = person.link {
            person.link = Link::Closed { retry_at: now };
        }
    }

    /// A person leaves the room.
    pub(super) fn leave(&mut self, index: usize) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if !person.wants_in {
            return;
        }
        person.wants_in = false;
        person.moments.left = Some(now);
        person.moments.joined = None;
        if person.signaling.is_joined {
            person.signaling.request("leave", json!({}));
        } else if let Link::Open { server, socket, .. } = person.link {
            self.close_socket(index, server, socket);
        }
        self.checks.frames += self.people[index].sink().map_or(0, |sink| sink.frames());
        let person = &mut self.people[index];
        for session in person.sessions_mut() {
            session.transport.close();
        }
        self.send_of_people();
        self.people[index].discard_sessions();
    }

    /// A person does something, or ends it.
    pub(super) fn act(&mut self, index: usize, fault: Fault, begins: bool) {
        let now = self.clock.now();
        let amount = fault.amount as usize;
        match fault.kind {
            FaultKind::Leave if begins => self.leave(index),
            FaultKind::Leave => self.enter(index),
            FaultKind::Mute if self.people[index].publishes => {
                self.people[index].mute(amount % 2, begins, now);
            }
            FaultKind::Unpublish if self.people[index].publishes => {
                self.people[index].set_offered(amount % 2, !begins, now);
            }
            FaultKind::Sleep => {
                if let Some(sink) = self.people[index].sink_mut() {
                    sink.is_asleep = begins;
                }
            }
            FaultKind::Message if begins => self.talk(index, amount),
            FaultKind::HangUp if begins => self.hang_up(index),
            FaultKind::Unsubscribe | FaultKind::Pause | FaultKind::Narrow => {
                self.wish(index, fault, begins);
            }
            _ => {}
        }
    }

    /// The peer connections of a person end. It waits for the server to ask for new ones.
    fn hang_up(&mut self, index: usize) {
        // A close that is lost, or that has no keys yet, is noticed only after a minute of silence.
        let count = self.people.len();
        let is_faulty = self.active.iter().any(|fault| {
            let is_own = fault.target as usize % count == index;
            !fault.kind.is_of_person() || is_own && is_of_path(fault.kind)
        });
        let mut sessions = self.people[index].sessions();
        let is_connected = sessions.all(|session| session.transport.is_connected());
        drop(sessions);
        if is_faulty || !is_connected {
            return;
        }
        for session in self.people[index].sessions_mut() {
            session.transport.close();
        }
        self.send_of_people();
        self.checks.frames += self.people[index].sink().map_or(0, |sink| sink.frames());
        self.people[index].discard_sessions();
    }

    /// A person changes what it wants to get of one track.
    fn wish(&mut self, index: usize, fault: Fault, begins: bool) {
        let now = self.clock.now();
        let person = &mut self.people[index];
        if !person.may_view {
            return;
        }
        let own = person
            .signaling
            .stay
            .as_ref()
            .map(|stay| stay.participant.clone());
        let known = person.signaling.roster.participants.iter();
        let others = known.filter(|(id, _)| Some(*id) != own.as_ref());
        let tracks: Vec<String> = others
            .flat_map(|(_, participant)| participant.tracks.keys().cloned())
            .collect();
        let set = match fault.kind {
            FaultKind::Unsubscribe => &mut person.refused,
            FaultKind::Pause => &mut person.paused,
            _ => &mut person.narrowed,
        };
        let chosen: Vec<String> = match begins {
            true => {
                let place = fault.amount as usize % tracks.len().max(1);
                let chosen: Vec<_> = tracks.get(place).cloned().into_iter().collect();
                set.extend(chosen.iter().cloned());
                chosen
            }
            // Everything is wanted again.
            false => std::mem::take(set).into_iter().collect(),
        };
        person.moments.wanted = now;
        person.touched.extend(chosen.iter().cloned());
        if !person.signaling.is_joined {
            return;
        }
        for track in chosen {
            person.wish(track);
        }
    }

    /// A person sends messages, some to one other person only.
    fn talk(&mut self, index: usize, count: usize) {
        let person = &mut self.people[index];
        if !person.signaling.is_joined {
            return;
        }
        let mates: Vec<String> = person
            .signaling
            .roster
            .participants
            .values()
            .map(|mate| mate.identity.clone())
            .collect();
        for number in 0..count {
            let topic = format!("from-{index}");
            let mut message =
                json!({"topic": topic, "payload": number, "ephemeral": number % 3 == 2});
            if number % 3 == 1
                && let Some(mate) = person.rng.one_of(&mates)
            {
                message["to"] = json!([mate]);
                message["topic"] = json!(format!("to-{mate}"));
            }
            person.signaling.request("message", message);
        }
    }

    /// Everybody leaves. One in each room stays for a while, because only a server with the room removes participants of dead
    /// servers.
    pub(super) fn empty(&mut self) {
        let now = self.clock.now();
        for person in 0..self.people.len() {
            if person % self.size.people_per_room == KEEPER {
                self.enter(person);
                self.changes.add(now + KEEPER_STAYS, Change::Goes(person));
            } else {
                self.leave(person);
            }
        }
    }
}
