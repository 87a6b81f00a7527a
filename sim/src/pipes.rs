//! Ordered connections between hosts, in the place of TCP: what is sent arrives in order, late, or not at all when the connection
//! breaks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Time;
use crate::events::Events;

/// A host at one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Device of a person, by its number.
    Person(usize),
    /// A signaling server, by its number.
    Server(usize),
    /// A data plane, by its number.
    Node(usize),
    /// The store of all servers.
    Store,
}

/// One direction of a connection. Between two hosts there may be several, of different channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Host that sends on the connection.
    pub from: Host,
    /// Host that receives on the connection.
    pub to: Host,
    /// Number of the connection between them.
    pub channel: u64,
}

/// All connections between hosts.
#[derive(Debug)]
pub struct Pipes<T> {
    by_route: BTreeMap<Route, Pipe<T>>,
    flying: Events<(Route, T)>,
    /// Pairs of hosts that do not reach each other.
    cut: Vec<(Host, Host)>,
}

#[derive(Debug)]
struct Pipe<T> {
    /// Arrival of the latest message; later messages do not overtake it.
    last_at: Time,
    /// Messages that wait for the end of a cut.
    held: VecDeque<T>,
    flying: usize,
}

impl<T> Default for Pipes<T> {
    fn default() -> Self {
        Self {
            by_route: BTreeMap::new(),
            flying: Events::default(),
            cut: Vec::new(),
        }
    }
}

impl<T> Pipes<T> {
    /// Sends `message`, which arrives after `delay`, behind all earlier messages of the route.
    pub fn send(&mut self, route: Route, message: T, delay: Duration, now: Time) {
        let pipe = self.by_route.entry(route).or_insert_with(|| Pipe {
            last_at: now,
            held: VecDeque::new(),
            flying: 0,
        });
        pipe.last_at = pipe.last_at.max(now + delay);
        pipe.flying += 1;
        self.flying.add(pipe.last_at, (route, message));
    }

    /// The next message that has arrived at `now`.
    pub fn receive(&mut self, now: Time) -> Option<(Route, T)> {
        loop {
            let (route, message) = self.flying.take_due(now)?;
            let is_cut = self.is_cut(route.from, route.to);
            // A pipe that broke has no entry: what was on its way is lost.
            let Some(pipe) = self.by_route.get_mut(&route) else {
                continue;
            };
            pipe.flying -= 1;
            if is_cut || !pipe.held.is_empty() {
                pipe.held.push_back(message);
                continue;
            }
            if pipe.flying == 0 {
                self.by_route.remove(&route);
            }
            return Some((route, message));
        }
    }

    /// Time of the next arrival.
    pub fn next_at(&self) -> Option<Time> {
        self.flying.next_at()
    }

    /// True if the two hosts do not reach each other.
    pub fn is_cut(&self, one: Host, other: Host) -> bool {
        let mut cut = self.cut.iter();
        cut.any(|pair| *pair == (one, other) || *pair == (other, one))
    }

    /// From now on what the two hosts send each other waits.
    pub fn cut(&mut self, one: Host, other: Host) {
        self.cut.push((one, other));
    }

    /// Ends one cut. What waited arrives now, in order.
    pub fn heal(&mut self, one: Host, other: Host, now: Time) {
        if let Some(place) = self.cut.iter().position(|pair| *pair == (one, other)) {
            self.cut.remove(place);
        }
        if self.is_cut(one, other) {
            return;
        }
        for (route, pipe) in &mut self.by_route {
            let is_between =
                (route.from, route.to) == (one, other) || (route.from, route.to) == (other, one);
            if !is_between || pipe.held.is_empty() {
                continue;
            }
            // Those on their way arrive behind those that waited.
            let mut later = self.flying.take_if(|(of, _)| of == route);
            let waited = std::mem::take(&mut pipe.held);
            pipe.flying = waited.len() + later.len();
            pipe.last_at = pipe.last_at.max(now);
            for message in waited {
                self.flying.add(now, (*route, message));
            }
            for (at, message) in later.drain(..) {
                self.flying.add(at.max(now), message);
            }
        }
    }

    /// Breaks all connections of which `is_broken` is true: what is on its way is lost.
    pub fn break_if(&mut self, is_broken: impl Fn(&Route) -> bool) {
        self.by_route.retain(|route, _| !is_broken(route));
        self.flying.take_if(|(route, _)| is_broken(route));
    }

    /// Number of messages on their way.
    pub fn len(&self) -> usize {
        self.flying.len()
            + self
                .by_route
                .values()
                .map(|pipe| pipe.held.len())
                .sum::<usize>()
    }

    /// True if nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route {
        from: Host::Server(0),
        to: Host::Node(1),
        channel: 0,
    };

    fn drain(pipes: &mut Pipes<u32>, ms: u64) -> Vec<u32> {
        let now = Time::from_ms(ms);
        std::iter::from_fn(|| pipes.receive(now))
            .map(|(_, n)| n)
            .collect()
    }

    #[test]
    fn order_is_kept_whatever_the_delays_are() {
        let mut pipes = Pipes::default();
        let ms = Duration::from_millis;
        pipes.send(ROUTE, 1, ms(20), Time::ZERO);
        pipes.send(ROUTE, 2, ms(5), Time::ZERO);
        assert!(drain(&mut pipes, 10).is_empty());
        assert_eq!(drain(&mut pipes, 20), [1, 2]);
        assert!(pipes.is_empty());
    }

    #[test]
    fn a_cut_holds_and_a_break_loses() {
        let mut pipes = Pipes::default();
        let ms = Duration::from_millis;
        let (server, node) = (ROUTE.from, ROUTE.to);
        pipes.send(ROUTE, 1, ms(5), Time::ZERO);
        pipes.cut(node, server);
        pipes.send(ROUTE, 2, ms(30), Time::ZERO);
        assert!(drain(&mut pipes, 10).is_empty());
        assert_eq!(pipes.len(), 2);
        pipes.heal(node, server, Time::from_ms(15));
        pipes.send(ROUTE, 3, ms(5), Time::from_ms(15));
        assert_eq!(drain(&mut pipes, 20), [1]);
        assert_eq!(drain(&mut pipes, 50), [2, 3]);
        pipes.send(ROUTE, 4, ms(5), Time::from_ms(50));
        pipes.break_if(|route| route.to == Host::Node(1));
        pipes.send(ROUTE, 5, ms(1), Time::from_ms(51));
        assert_eq!(drain(&mut pipes, 90), [5]);
        assert!(pipes.is_empty());
    }
}
