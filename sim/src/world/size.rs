//! Size of a world, and its usual paths.

use std::time::Duration;

use crate::network::Conditions;

/// Size of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of nodes in the fleet.
    pub nodes: usize,
    /// Number of shards of each node.
    pub shards: u16,
    /// Number of signaling servers.
    pub servers: usize,
    /// Number of rooms, one after the other on nodes.
    pub rooms: usize,
    /// Number of people in each room.
    pub people_per_room: usize,
    /// How many of each room publish.
    pub publishers: usize,
    /// Time from the start until everybody leaves.
    pub lasts: Duration,
}

/// Time after everybody has left, in which everything must be cleaned up.
pub(super) const AFTERMATH: Duration = Duration::from_secs(85);

/// Path of all people without faults.
pub(super) const USUAL: Conditions = Conditions::steady(Duration::from_millis(15));

impl Default for Size {
    fn default() -> Self {
        Self {
            nodes: 2,
            shards: 2,
            servers: 2,
            rooms: 2,
            people_per_room: 12,
            publishers: 5,
            lasts: Duration::from_secs(60),
        }
    }
}

impl Size {
    /// Number of people in all rooms.
    pub fn people(&self) -> usize {
        self.rooms * self.people_per_room
    }
}
