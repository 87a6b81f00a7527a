//! Looks at what can be seen from outside: from time to time, and at each datagram to a viewer.

use std::time::Duration;

use super::checks::OWN_CALLS;
use crate::network::Datagram;
use crate::world::World;
use crate::world::person::Person;

/// Time after a change of the address in which the first packets of a stream may be missing.
const ROAMING: Duration = Duration::from_secs(3);

impl World {
    /// Looks at everything that can be seen from outside.
    pub(in crate::world) fn look(&mut self) {
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
    pub(in crate::world) fn look_at_media(&mut self, index: usize, datagram: &Datagram) {
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
