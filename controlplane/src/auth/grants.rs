//! Grants of a token. [`crate::room::Request::permitted_by`] enforces them.

use serde::{Deserialize, Serialize};

use super::claims::VideoGrant;
use crate::history::Source;

/// Grants of a participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// The participant may publish tracks.
    pub publish: bool,
    /// Sources that the participant may publish; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    /// The participant may receive tracks of others.
    pub subscribe: bool,
    /// The participant may send messages.
    pub data: bool,
    /// The participant is invisible to others. It cannot publish.
    #[serde(default)]
    pub hidden: bool,
}

impl Grants {
    /// Reads the claims. `None` without the grant to join. Absent grants are true
    /// (docs/protocol.md, Tokens).
    pub fn from_claims(video: &VideoGrant) -> Option<Self> {
        let sources = video.can_publish_sources.as_ref();
        video.room_join.then(|| Self {
            publish: video.can_publish.unwrap_or(true) && !video.hidden,
            sources: sources.filter(|names| !names.is_empty()).map(|names| {
                names
                    .iter()
                    .filter_map(|name| Source::from_claim(name))
                    .collect()
            }),
            subscribe: video.can_subscribe.unwrap_or(true),
            data: video.can_publish_data.unwrap_or(true),
            hidden: video.hidden,
        })
    }

    /// True if sessions that were created with the grants `earlier` may continue with these grants.
    pub fn covers(&self, earlier: &Self) -> bool {
        let sources = match (&self.sources, &earlier.sources) {
            (None, _) => true,
            (Some(_), None) => !earlier.publish,
            (Some(now), Some(then)) => then.iter().all(|source| now.contains(source)),
        };
        sources
            && (self.publish || !earlier.publish)
            && (self.subscribe || !earlier.subscribe)
            && self.hidden == earlier.hidden
    }
}
