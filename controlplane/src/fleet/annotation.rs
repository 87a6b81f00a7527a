//! Annotations: bytes that a node keeps with a session or track and never reads. They suffice to
//! rebuild rooms after a restart.

use serde::{Deserialize, Serialize};

use crate::auth::Grants;
use crate::history::Source;
use crate::ids::{Identity, ParticipantId, RoomName};

const VERSION: u32 = 1;

/// Annotation of a session (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct SessionAnnotation {
    version: u32,
    pub room: RoomName,
    pub participant: ParticipantId,
    pub identity: Identity,
    pub name: String,
    pub auto_subscribe: bool,
    pub grants: Grants,
}

/// Annotation of a published track (JSON). The node knows everything else about the track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub struct TrackAnnotation {
    version: u32,
    pub source: Source,
}

impl SessionAnnotation {
    /// The annotation of a participant of `room`.
    pub fn new(
        room: RoomName,
        (participant, identity, name): (ParticipantId, Identity, String),
        auto_subscribe: bool,
        grants: Grants,
    ) -> Self {
        Self {
            version: VERSION,
            room,
            participant,
            identity,
            name,
            auto_subscribe,
            grants,
        }
    }

    /// The annotation as versioned JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("annotations are plain data")
    }

    /// Parses an annotation. `None` if its version or format is another one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(bytes).ok()?;
        (read.version == VERSION).then_some(read)
    }
}

impl TrackAnnotation {
    /// The annotation of a published track.
    pub fn new(source: Source) -> Self {
        let version = VERSION;
        Self { version, source }
    }

    /// The annotation as versioned JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("annotations are plain data")
    }

    /// Parses an annotation. `None` if its version or format is another one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(bytes).ok()?;
        (read.version == VERSION).then_some(read)
    }
}
