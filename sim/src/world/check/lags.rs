//! Since when servers and people are behind the store.

use spillway_controlplane::ids::RoomName;

use super::since::SinceWhen;

/// Since when servers and people are behind the store.
#[derive(Default)]
pub(super) struct Lags {
    pub(super) servers: SinceWhen<(usize, RoomName)>,
    pub(super) people: SinceWhen<usize>,
    /// People who are in the room and not in the roster.
    pub(super) unlisted: SinceWhen<usize>,
    /// Participants in the roster who are not in the room.
    pub(super) ghosts: SinceWhen<String>,
}
