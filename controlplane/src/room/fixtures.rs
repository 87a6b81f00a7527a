//! Fixtures for tests of rooms: a configuration, and joins with valid tokens.

use std::sync::Arc;
use std::time::Duration;

use super::{JoinRequest, ResumePoint, RoomConfig};
use crate::auth::{Grants, Keys};
use crate::config::SignalingLimits;
use crate::turn::Issuer;

/// A configuration. `is_shared`: other servers serve the same rooms.
pub(crate) fn config(is_shared: bool) -> RoomConfig {
    let keys = Keys::new(vec![
        "key:0123456789abcdef0123456789abcdef"
            .parse()
            .expect("a key"),
    ]);
    RoomConfig {
        keys: Arc::new(keys.expect("one key")),
        limits: SignalingLimits {
            participants: 10,
            tracks: 10,
            message_bytes: 65_536,
            messages_per_second: 100,
            grace: Duration::from_secs(5),
            resume_allowance_s: 60,
            token_leeway_s: 60,
        },
        turn: Some(Issuer::new("north", 300)),
        is_shared,
        owner: "us".to_owned(),
    }
}

/// All grants, of a visible participant.
pub(crate) fn grants() -> Grants {
    Grants {
        publish: true,
        sources: None,
        subscribe: true,
        data: true,
        hidden: false,
    }
}

/// A join to room `r`, with an optional resume point.
pub(crate) fn join_of(identity: &str, resume: Option<ResumePoint>) -> JoinRequest {
    JoinRequest {
        id: Some(1),
        room: "r".parse().expect("a name"),
        identity: identity.parse().expect("a name"),
        name: identity.to_owned(),
        grants: grants(),
        auto_subscribe: true,
        resume,
        token_ends_s: 2_000,
        expired: None,
        unix_s: 1_000,
    }
}
