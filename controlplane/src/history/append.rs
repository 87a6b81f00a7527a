//! Events without an offset.

use super::{Participant, RoomEvent};
use crate::ids::{Identity, ParticipantId};

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The event to append.
    pub event: RoomEvent,
    /// Identities that may see the event; `None` for all.
    pub to: Option<Vec<Identity>>,
    /// Change of the participants, in the same step.
    pub change: Change,
}

/// Change of the participants by an event; every server that applies the events gets the same list.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The participants do not change.
    None,
    /// This is what the participant is now.
    Put(Participant),
    /// The participant is gone.
    Remove(ParticipantId),
    /// The same, unless another server has taken the participant over.
    RemoveOurs(ParticipantId),
    /// The same, unless the participant was removed or is present again.
    RemoveAbsent(ParticipantId),
}

impl Change {
    /// True if the store may refuse it, because another server has the participant.
    pub fn may_be_refused(&self) -> bool {
        match self {
            Self::RemoveOurs(_) | Self::RemoveAbsent(_) => true,
            Self::None | Self::Put(_) | Self::Remove(_) => false,
        }
    }
}
