//! A room's history: events with offsets, and the participants that result from them. Rooms create
//! events, stores keep them.

mod participant; // participants of a room, with their tracks
mod event; // events of a room
mod append; // events without an offset
mod entry; // events with their offset
mod roster; // the participants after all events so far
mod restart; // a history that started over

pub use append::{Append, Change};
pub use entry::{Entry, Missed};
pub use event::{Ephemeral, LeaveReason, RoomEvent};
pub use participant::{Kind, Layer, Participant, Source, Track};
pub use restart::{MissedByRestart, Restart};
pub use roster::Roster;
