//! Invariant 8: on a path that carries it, nobody waits longer than 2 s for a picture, nor 1 s for sound.

use std::time::Duration;

use crate::clock::Time;
use crate::fault::FaultKind;
use crate::world::World;
use crate::world::person::{Link, Person};

/// Longest time without a picture.
const PICTURE: Duration = Duration::from_millis(2_000);
/// Longest time without sound: in a pause of speech a packet comes every 400 ms.
const SOUND: Duration = Duration::from_millis(1_000);
/// Longest time from coming back to be in the room again.
const JOIN: Duration = Duration::from_secs(5);
/// Longest time from being in the room to be connected to the node.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time from a fault to the loss of media that it causes: a lease and its checks.
const LOSS: Duration = Duration::from_secs(35);
/// Longest time from the publishing of a track to its offer.
const OFFER: Duration = Duration::from_secs(3);

impl World {
    pub(super) fn check_waiting(&mut self) {
        for index in 0..self.people.len() {
            if let Some(wrong) = self.wait_of(index) {
                self.violate(8, format!("person {index} {wrong}"));
            }
        }
        let listed = self.listed().tracks;
        for viewer in 0..self.people.len() {
            for publisher in 0..self.people.len() {
                if viewer == publisher {
                    continue;
                }
                for (mid, limit) in [(0, SOUND), (1, PICTURE)] {
                    let line = &self.people[publisher].lines[mid];
                    let is_listed = line
                        .track
                        .as_ref()
                        .is_some_and(|track| listed.contains(track));
                    if !is_listed {
                        continue;
                    }
                    if let Some(wrong) = self.wait_for(viewer, publisher, (mid, limit)) {
                        self.violate(8, format!("person {viewer} {wrong}"));
                    }
                }
            }
        }
    }

    /// What a person waits for by itself.
    fn wait_of(&self, index: usize) -> Option<String> {
        let now = self.clock.now();
        let person = &self.people[index];
        let calm = self.calm_since(index, None)?;
        let servers = self.last_calm.servers.values().copied().max();
        let calm = calm.max(servers.unwrap_or_default());
        if !person.wants_in || self.has_dead_server() {
            return None;
        }
        let since = calm.max(person.moments.entered);
        if !person.signaling.is_joined {
            let mut active = self.active.iter();
            if active.any(|fault| fault.kind == FaultKind::Partition) {
                return None; // the chosen server may not reach the node, which takes it a while to notice
            }
            let waits = now.since(since);
            let is_open = matches!(person.link, Link::Open { .. });
            return (waits > JOIN).then(|| format!("waits {waits:?} to join (open: {is_open})"));
        }
        let calm = self.calm_since(index, self.node_of(person))?;
        let since = calm
            .max(person.moments.joined?)
            .max(self.last_calm_of_nodes());
        let waits = now.since(since);
        let moments = &person.moments;
        let is_late = waits > CONNECT && !self.has_dead_node();
        if is_late && person.may_view && moments.view_connected.is_none() && self.has_media(index) {
            return Some(format!("waits {waits:?} for the viewing connection"));
        }
        // Wrong offers may have taken the tracks of a person that misbehaves.
        let publishes = !person.misbehaves && person.lines.iter().any(|line| line.is_offered);
        if is_late && publishes && moments.publish_connected.is_none() {
            return Some(format!("waits {waits:?} for the publishing connection"));
        }
        None
    }

    /// A person hears that its media was lost: a fault must have caused that.
    pub(in crate::world) fn saw_loss(&mut self, index: usize, reason: &str) {
        let now = self.clock.now();
        let hosts = self.last_calm.servers.values().copied().max();
        let hosts = hosts
            .max(Some(self.last_calm_of_nodes()))
            .unwrap_or_default();
        let mut active = self.active.iter();
        let is_faulty = active.any(|fault| !fault.kind.is_of_person());
        let Some(calm) = self.calm_since(index, None).filter(|_| !is_faulty) else {
            return;
        };
        let waits = now.since(calm.max(hosts));
        if waits > LOSS && !self.people[index].misbehaves {
            self.violate(
                8,
                format!(
                    "person {index} has lost its media, {waits:?} after the last fault: '{reason}'"
                ),
            );
        }
    }

    /// True if another person in the room publishes, so that the viewing session has something to connect for.
    fn has_media(&self, index: usize) -> bool {
        let room = self.people[index].room;
        let now = self.clock.now();
        self.people.iter().enumerate().any(|(other, person)| {
            let connected = person.moments.publish_connected;
            let is_long = connected.is_some_and(|at| now.since(at) > CONNECT);
            let has_track = person.lines.iter().any(|line| line.track.is_some());
            other != index && person.room == room && is_long && has_track
        })
    }

    fn has_dead_server(&self) -> bool {
        self.servers.iter().any(|host| host.server.is_none())
    }

    pub(super) fn has_dead_node(&self) -> bool {
        self.nodes.iter().any(|host| host.node.is_none())
    }

    pub(super) fn last_calm_of_nodes(&self) -> Time {
        let times = self.last_calm.nodes.values().copied();
        times.max().unwrap_or_default()
    }

    /// Number of the node of a person's sessions.
    pub(super) fn node_of(&self, person: &Person) -> Option<usize> {
        let server = person
            .sessions()
            .find_map(|session| session.transport.server())?;
        self.nodes.iter().position(|host| host.addr == server)
    }

    /// What `viewer` waits for from the line `mid` of `publisher`.
    fn wait_for(
        &self,
        viewer: usize,
        publisher: usize,
        (mid, limit): (usize, Duration),
    ) -> Option<String> {
        let now = self.clock.now();
        let (to, from) = (&self.people[viewer], &self.people[publisher]);
        let line = &from.lines[mid];
        let track = line
            .track
            .as_ref()
            .filter(|_| !line.is_muted && line.is_offered)?;
        if from.misbehaves {
            return None; // its wrong offers may have ended its own media
        }
        let is_wanted = !to.refused.contains(track) && !to.paused.contains(track);
        if to.room != from.room || !to.may_view || !is_wanted || !to.signaling.is_joined {
            return None;
        }
        let node = self.node_of(to)?;
        if self.node_of(from) != Some(node) {
            return None;
        }
        let times = [
            self.calm_since(viewer, Some(node))?,
            self.calm_since(publisher, Some(node))?,
            to.moments.joined?,
            to.moments.wanted,
            from.moments.publish_connected?,
            from.moments.changed[mid],
        ];
        let since = times.into_iter().max()?;
        // Connections to a node that has ended since then are gone; their people hear of it when they have a server.
        let started = self.nodes[node].started;
        let is_gone = |connected: Option<Time>| connected.is_some_and(|at| at < started);
        if is_gone(from.moments.publish_connected) || is_gone(to.moments.view_connected) {
            return None;
        }
        let Some(offered) = to.offered.get(track) else {
            let waits = now.since(since);
            let is_late = waits > OFFER && self.checks_rooms(viewer);
            return is_late.then(|| {
                format!("waits {waits:?} for the offer of {track} of person {publisher}")
            });
        };
        let connected = to.moments.view_connected?;
        let decoded = to.sink()?.decoded_at(from.stamp(mid));
        let since = since
            .max(*offered)
            .max(connected)
            .max(decoded.unwrap_or_default());
        let waits = now.since(since);
        (waits > limit).then(|| {
            let what = if mid == 0 { "sound" } else { "a picture" };
            format!("waits {waits:?} for {what} of person {publisher}, the last at {decoded:?}")
        })
    }

    /// True if all servers are up and their connections whole, so that events spread.
    fn checks_rooms(&self, person: usize) -> bool {
        let room = self.people[person].room;
        let mates = (0..self.people.len()).filter(|index| self.people[*index].room == room);
        let mut mates = mates.filter(|index| self.people[*index].signaling.is_joined);
        mates.all(|index| self.calm_since(index, None).is_some()) && !self.has_dead_server()
    }
}
