//! One room of a server: its actor, its reader and its appends in flight.

use std::collections::VecDeque;

use spillway_controlplane::hub::{Actor, Answer, ReadAgain, RoomInput};
use spillway_controlplane::ids::RoomName;
use spillway_controlplane::store::{Opened, RoomUpdate, StoreError};
use tokio::sync::mpsc;

use super::tasks::Tasks;
use crate::clock::Time;

/// A room of a server.
pub(super) struct RoomTask {
    /// `None` while the room is being opened.
    pub(super) actor: Option<Actor>,
    pub(super) updates: Option<mpsc::Receiver<RoomUpdate>>,
    /// Inputs that came while the room was being opened.
    pub(super) waiting: VecDeque<RoomInput>,
    /// Appends whose results come in order.
    pub(super) appends: VecDeque<PendingAppend>,
    /// Results of appends, by number.
    pub(super) next_append: u64,
    pub(super) is_renewing_presence: bool,
    pub(super) presence_at: Time,
}

/// An append whose result is still missing, or waits for earlier ones.
pub(super) struct PendingAppend {
    pub(super) number: u64,
    pub(super) result: Option<Result<spillway_controlplane::store::Appended, StoreError>>,
}

/// Result of a task of a room.
pub(super) enum Finished {
    Opened(RoomName, Result<Box<Opened>, StoreError>),
    Appended(
        RoomName,
        u64,
        Result<spillway_controlplane::store::Appended, StoreError>,
    ),
    Answer(RoomName, Answer),
    Reopened(RoomName, mpsc::Receiver<RoomUpdate>, ReadAgain),
    Input(RoomName, RoomInput),
    Nothing,
}

/// Type of the tasks of a server.
pub(super) type RoomTasks = Tasks<Finished>;

impl RoomTask {
    /// True if the room can be dropped.
    pub(super) fn is_idle(&mut self, now: Time) -> bool {
        let actor = self.actor.as_mut();
        self.waiting.is_empty()
            && self.appends.is_empty()
            && actor.is_some_and(|actor| actor.is_idle(now.instant()))
    }

    /// Time at which the room has something to do.
    pub(super) fn next_at(&mut self, now: Time) -> Option<Time> {
        let actor = self.actor.as_mut()?;
        let timeout = actor.poll_timeout(now.instant()).map(Time::of);
        timeout.into_iter().chain([self.presence_at]).min()
    }

    /// The actor, if the room is open.
    pub(super) fn actor(&self) -> Option<&Actor> {
        self.actor.as_ref()
    }
}
