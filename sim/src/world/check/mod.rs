//! Invariants that are looked at from time to time, and at the end.

mod entitled; // what sessions may get, from the calls to their node
mod roster; // invariants 5 and 6: servers and clients agree, nobody is removed while talking
mod owners; // invariant 7: nothing is without an owner
mod waiting; // invariant 8: nobody waits too long
mod bounds; // invariants 4, 9 and 10: counts, queues, memory

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use super::person::Person;
use crate::clock::Time;
use crate::network::Datagram;
use crate::node::{CallId, NodeCall};
use entitled::Entitled;
use roster::Lags;

/// Time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);
/// Time after a change of the address in which the first packets of a stream may be missing.
const ROAMING: Duration = Duration::from_secs(3);
/// Numbers of the calls by which the world itself reads the state of nodes.
const OWN_CALLS: u64 = 1 << 60;

/// What the invariants remember.
#[derive(Default)]
pub(super) struct Checks {
    /// Frames of sessions that have ended.
    pub(super) frames: u64,
    /// A media datagram of each person that misbehaves, to be sent again.
    pub(super) seen_datagrams: BTreeMap<usize, Vec<u8>>,
    entitled: Entitled,
    own_calls: u64,
    lags: Lags,
    orphans: owners::Orphans,
}

impl Checks {
    /// True if the world itself made this call.
    pub(super) fn is_own(&self, call: CallId) -> bool {
        call.0 >= OWN_CALLS
    }

    /// A call arrives at the node at `addr`.
    pub(super) fn called(&mut self, addr: SocketAddr, number: u64, call: &NodeCall) {
        self.entitled.called(addr, number, call);
    }

    /// The node at `addr` has answered a call.
    /// What was sent before arrives in the time `drains`.
    pub(super) fn replied(
        &mut self,
        addr: SocketAddr,
        call: (u64, bool),
        (now, drains): (Time, Duration),
    ) {
        self.entitled.replied(addr, call, (now, drains));
    }

    /// The node at `addr` has ended.
    pub(super) fn node_ended(&mut self, addr: SocketAddr) {
        self.entitled.node_ended(addr);
        self.orphans.node_ended(addr);
    }
}

impl World {
    /// Looks at everything that can be seen from outside.
    pub(super) fn look(&mut self) {
        for fault in self.active.clone() {
            self.meet(fault);
        }
        self.check_rosters();
        self.check_waiting();
        self.check_bounds();
        for node in 0..self.nodes.len() {
            self.checks.own_calls += 1;
            let number = OWN_CALLS + self.checks.own_calls;
            self.ask_state(node, number);
        }
    }

    /// Invariants 1 to 3, on a datagram that a node sends to a viewer.
    pub(super) fn look_at_media(&mut self, index: usize, datagram: &Datagram) {
        let now = self.clock.now();
        let person = &self.people[index];
        let Some(view) = &person.view else {
            return;
        };
        let participant = person
            .signaling
            .stay
            .as_ref()
            .map(|stay| &*stay.participant);
        let (names, entitled) = (&self.track_names, &self.checks.entitled);
        let right = |stamp: u32| {
            let mut names = names.get(&stamp).into_iter().flatten();
            let participant = participant.unwrap_or_default();
            names.find_map(|track| entitled.right(datagram.from, (participant, track), now))
        };
        // The session belongs to the stay only while its address is this one.
        if view.transport.local() != datagram.to {
            return;
        }
        // What was sent to an address that is not proven was dropped.
        let roamed = person.moments.roamed;
        let roams = roamed.is_some_and(|at| now.since(at) < ROAMING);
        // A publisher that misbehaves may end and begin its tracks at any time.
        let misbehaves = |stamp: u32| {
            let publisher = self.people.get(Person::number_of(stamp));
            publisher.is_some_and(|publisher| publisher.misbehaves)
        };
        let may_miss = |stamp: u32| roams || misbehaves(stamp);
        let mut witness = person.witness.take();
        let seen = witness.see(&datagram.bytes, (view, &may_miss), right);
        person.witness.set(witness);
        for (invariant, seen) in seen {
            self.violate(invariant, format!("person {index}: {seen}"));
        }
    }
}

/// Since when something is so, by key; what is no longer so is forgotten.
#[derive(Debug)]
struct SinceWhen<K>(BTreeMap<K, Time>);

impl<K: Ord> Default for SinceWhen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> SinceWhen<K> {
    /// Notes whether `key` is so. Returns for how long it has been so.
    fn note(&mut self, key: K, is_so: bool, now: Time) -> Duration {
        if !is_so {
            self.0.remove(&key);
            return Duration::ZERO;
        }
        now.since(*self.0.entry(key).or_insert(now))
    }

    /// Forgets all keys but those in `kept`.
    fn keep(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_kept(key));
    }
}
