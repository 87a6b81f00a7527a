//! Invariants 4, 9 and 10: nothing is lost uncounted, every queue has its bound, and nothing is left when everybody has left.

use spillway_controlplane::ids::RoomName;

use crate::world::World;
use crate::world::person::room_name;

/// Calls and timers that a server may have at once.
const MAX_TASKS: usize = 1_000;
/// Messages on their way.
const MAX_MESSAGES: usize = 20_000;

impl World {
    pub(super) fn check_bounds(&mut self) {
        let mut wrong = Vec::new();
        for (number, host) in self.servers.iter().enumerate() {
            let Some(server) = &host.server else {
                continue;
            };
            let tasks = server.open_tasks();
            if tasks > MAX_TASKS {
                wrong.push(format!("server {number} has {tasks} tasks"));
            }
            let (sockets, people) = (server.socket_count(), self.people.len());
            if sockets > 10 * people {
                wrong.push(format!("server {number} has {sockets} sockets"));
            }
        }
        let messages = self.pipes.len();
        if messages > MAX_MESSAGES {
            wrong.push(format!("{messages} messages are on their way"));
        }
        for room in 0..self.size.rooms {
            let Ok(name) = room_name(room).parse::<RoomName>() else {
                continue;
            };
            let stored = self.store.memory().peek(&name);
            let participants = stored.map_or(0, |(_, _, participants)| participants.len());
            let (present, served) = self.store.memory().entries(&name);
            if present > participants || served > participants {
                wrong.push(format!(
                    "the store has {participants} participants of {name}, {present} presences and {served} servers"
                ));
            }
        }
        for seen in wrong {
            self.violate(9, seen);
        }
    }

    /// Everybody has left some time ago.
    pub(in crate::world) fn check_end(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        let mut left = Vec::new();
        for (number, host) in self.nodes.iter().enumerate() {
            for report in host.node.iter().flat_map(|node| node.reports()) {
                let counts = [report.sessions, report.tracks, report.subscriptions];
                if counts != [0; 3] {
                    left.push(format!(
                        "node {number}, shard {}: {counts:?} sessions, tracks and subscriptions",
                        report.shard.0
                    ));
                }
            }
        }
        for (number, host) in self.servers.iter().enumerate() {
            let Some(server) = &host.server else {
                continue;
            };
            let (rooms, sockets) = (server.room_count(), server.socket_count());
            if (rooms, sockets) != (0, 0) {
                left.push(format!("server {number}: {rooms} rooms, {sockets} sockets"));
            }
        }
        let rooms = self.store.memory().room_count();
        if rooms > 0 {
            left.push(format!("the store: {rooms} rooms"));
        }
        for seen in left {
            self.violate(10, format!("is left when everybody has left: {seen}"));
        }
    }

    /// Invariant 4: the network lost nothing uncounted.
    pub(in crate::world) fn check_network(&mut self) {
        let counted = self.network.counts().flying();
        let flying = self.network.flying() as u64;
        if counted != flying {
            let said =
                format!("the network counts {counted} datagrams on the way, and has {flying}");
            self.violate(4, said);
        }
    }
}
