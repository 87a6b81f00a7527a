//! The network between hosts: delay, jitter, loss, reordering, duplication, rate and queue limits, cuts. Sans-IO:
//! datagrams and the time go in, datagrams come out at their time.
//!
//! Call [`Network::send`] for each datagram, then [`Network::receive`] until it returns `None`, again at
//! [`Network::next_at`].

mod datagram; // datagrams and their directions
mod conditions; // properties of a path
mod counts; // what the network did, by kind
mod path; // state of one direction between two hosts

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Time;
use crate::events::Events;
use crate::rng::Seed;
pub use conditions::{Bursts, Conditions, Rate};
pub use counts::Counts;
pub use datagram::{Datagram, Direction};
use path::Path;

/// The network between all hosts.
#[derive(Debug)]
pub struct Network {
    seed: Seed,
    /// Conditions of paths that have none of their own.
    usual: Conditions,
    own: BTreeMap<Direction, Conditions>,
    cut: BTreeSet<Direction>,
    paths: BTreeMap<Direction, Path>,
    flying: Events<Flying>,
    counts: Counts,
}

/// A datagram on its way.
#[derive(Debug)]
struct Flying {
    datagram: Datagram,
    /// Number of the datagram on its path.
    number: u64,
}

impl Network {
    /// A network whose paths are like `usual`.
    pub fn new(seed: Seed, usual: Conditions) -> Self {
        Self {
            seed,
            usual,
            own: BTreeMap::new(),
            cut: BTreeSet::new(),
            paths: BTreeMap::new(),
            flying: Events::default(),
            counts: Counts::default(),
        }
    }

    /// Conditions of one direction between two hosts.
    pub fn conditions(&self, direction: Direction) -> Conditions {
        self.own.get(&direction).copied().unwrap_or(self.usual)
    }

    /// Sets the conditions of one direction; `None`: as usual. Datagrams on their way are not changed.
    pub fn set_conditions(&mut self, direction: Direction, conditions: Option<Conditions>) {
        match conditions {
            Some(conditions) => {
                self.own.insert(direction, conditions);
            }
            None => {
                self.own.remove(&direction);
            }
        }
    }

    /// Drops everything that is sent in this direction from now on.
    pub fn cut(&mut self, direction: Direction) {
        self.cut.insert(direction);
    }

    /// Ends the cut of one direction.
    pub fn heal(&mut self, direction: Direction) {
        self.cut.remove(&direction);
    }

    /// Takes `datagram`, which arrives later, more than once, or never.
    pub fn send(&mut self, datagram: Datagram, now: Time) {
        self.counts.sent += 1;
        let direction = datagram.direction();
        if self.cut.contains(&direction) {
            self.counts.cut += 1;
            return;
        }
        let conditions = self.conditions(direction);
        let seed = self.seed;
        let path = self
            .paths
            .entry(direction)
            .or_insert_with(|| Path::new(seed, direction));
        let length = datagram.bytes.len();
        let Some(arrival) = path.arrival(&conditions, length, now, &mut self.counts) else {
            return;
        };
        let number = arrival.number;
        if let Some(again_at) = arrival.again_at {
            let datagram = datagram.clone();
            self.flying.add(again_at, Flying { datagram, number });
        }
        self.flying.add(arrival.at, Flying { datagram, number });
    }

    /// Time of the next arrival.
    pub fn next_at(&self) -> Option<Time> {
        self.flying.next_at()
    }

    /// The next datagram that has arrived at `now`.
    pub fn receive(&mut self, now: Time) -> Option<Datagram> {
        let Flying { datagram, number } = self.flying.take_due(now)?;
        let direction = datagram.direction();
        self.counts.delivered += 1;
        if let Some(path) = self.paths.get_mut(&direction) {
            self.counts.reordered += u64::from(path.is_overtaken(number));
        }
        Some(datagram)
    }

    /// Number of datagrams on their way.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// What the network did so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests;
