//! Events with their numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RoomEvent;
use crate::ids::Identity;

/// One event of a room's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; the first of an epoch is 1 and there are no gaps.
    pub offset: u64,
    /// What happened.
    pub event: RoomEvent,
    /// Who alone may see it; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Identity>>,
}

/// What happened since an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Missed {
    /// This, in order; nothing is missing.
    Entries(Vec<Arc<Entry>>),
    /// The history does not reach back that far, or started over.
    TooOld,
}
