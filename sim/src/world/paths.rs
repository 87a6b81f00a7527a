//! Conditions of the paths between people and nodes, from the active faults.

use std::time::Duration;

use super::World;
use super::size::USUAL;
use crate::fault::{Fault, FaultKind};
use crate::network::{Bursts, Conditions, Direction, Rate};
use crate::rng::Chance;

/// Delay of datagrams that overtake each other or arrive twice.
const LATE: Duration = Duration::from_millis(30);
/// Queue of a bottleneck.
const QUEUE_BYTES: u64 = 32_000;

impl World {
    /// Sets the conditions of a person's paths from the active faults.
    pub(super) fn set_paths(&mut self, person: usize) {
        let mut conditions = USUAL;
        let mut is_cut = false;
        let count = self.people.len();
        for fault in &self.active {
            if is_of_path(fault.kind) && fault.target as usize % count == person {
                is_cut |= fault.kind == FaultKind::Cut;
                apply(fault, &mut conditions);
            }
        }
        let mut clients: Vec<_> = self.people[person]
            .sessions()
            .map(|session| session.transport.local().ip())
            .collect();
        clients.dedup();
        for client in clients {
            for host in &self.nodes {
                let node = host.addr.ip();
                for (from, to) in [(node, client), (client, node)] {
                    let direction = Direction { from, to };
                    self.network.set_conditions(direction, Some(conditions));
                    match is_cut {
                        true => self.network.cut(direction),
                        false => self.network.heal(direction),
                    }
                }
            }
        }
    }
}

/// Time in which the queue of a bottleneck of `kbit_per_s` is empty.
pub(super) fn drain_time(kbit_per_s: u32) -> Duration {
    Duration::from_millis(QUEUE_BYTES * 8 / u64::from(kbit_per_s.max(1)))
}

/// True if the fault changes the path of a person.
pub(super) fn is_of_path(kind: FaultKind) -> bool {
    use FaultKind::{Cut, Delay, Duplicate, Jitter, Loss, LossBurst, Rate, Reorder};
    matches!(
        kind,
        Delay | Jitter | Loss | LossBurst | Reorder | Duplicate | Rate | Cut
    )
}

fn apply(fault: &Fault, conditions: &mut Conditions) {
    let amount = fault.amount;
    let ms = Duration::from_millis(u64::from(amount));
    match fault.kind {
        FaultKind::Delay => conditions.delay += ms,
        FaultKind::Jitter => conditions.jitter = ms,
        FaultKind::Loss => conditions.loss = Chance::per_mille(amount),
        FaultKind::LossBurst => {
            conditions.bursts = Some(Bursts {
                begins: Chance::per_mille(5),
                ends: Chance::one_in(amount),
            });
        }
        FaultKind::Reorder => {
            conditions.reordered = Chance::per_mille(amount);
            conditions.late = LATE;
        }
        FaultKind::Duplicate => {
            conditions.duplicated = Chance::per_mille(amount);
            conditions.late = LATE;
        }
        FaultKind::Rate => {
            conditions.rate = Some(Rate {
                bits_per_s: u64::from(amount) * 1_000,
                queue_bytes: QUEUE_BYTES,
            });
        }
        _ => {}
    }
}
