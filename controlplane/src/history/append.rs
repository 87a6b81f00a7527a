//! Events before they have an offset.

use super::{Participant, RoomEvent};
use crate::ids::{Identity, ParticipantId};

/// An event to append, and its effect on the list of participants.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The event to append.
    pub event: RoomEvent,
    /// Identities that may see the event; `None` for all.
    pub to: Option<Vec<Identity>>,
    /// Change of the participants, made in the same step.
    pub change: Change,
}

/// Change of a room's participants by an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The participants do not change.
    None,
    /// The participant is added, or replaced.
    Put(Participant),
    /// The participant is removed.
    Remove(ParticipantId),
    /// The participant is removed, unless another server serves it by now.
    RemoveOurs(ParticipantId),
    /// The participant is removed, unless it is present again or was removed already.
    RemoveAbsent(ParticipantId),
}

impl Change {
    /// True if the store may refuse the change, because another server serves the participant.
    pub fn may_be_refused(&self) -> bool {
        match self {
            Self::RemoveOurs(_) | Self::RemoveAbsent(_) => true,
            Self::None | Self::Put(_) | Self::Remove(_) => false,
        }
    }
}
