//! Links of a shard to other nodes: the send queue of each link, and its incoming and outgoing tracks.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::{LinkId, TrackKey};
use crate::limits::MAX_LINKS;
use crate::tree::link::LinkQueue;

/// Open links of a shard by id, at most `MAX_LINKS`.
#[derive(Debug, Default)]
pub struct Links {
    by_id: BTreeMap<LinkId, Link>,
}

/// State of one link to another node.
#[derive(Debug, Default)]
pub struct Link {
    /// Messages and packets that wait to be sent over the link.
    pub queue: LinkQueue,
    /// Tracks received over the link.
    pub imports: BTreeSet<TrackKey>,
    /// Tracks sent over the link.
    pub exports: BTreeSet<TrackKey>,
}

/// The shard has `MAX_LINKS` links already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LINKS} links are the limit of a shard")]
pub struct TooManyLinks;

impl Links {
    /// Opens `link` without tracks. A link that is already open is left unchanged.
    pub fn open(&mut self, link: LinkId) -> Result<(), TooManyLinks> {
        if self.by_id.len() >= MAX_LINKS && !self.by_id.contains_key(&link) {
            return Err(TooManyLinks);
        }
        self.by_id.entry(link).or_default();
        Ok(())
    }

    /// The link `link`, if it is open.
    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.by_id.get_mut(&link)
    }

    /// Removes `link` and returns its state, if it was open.
    pub fn close(&mut self, link: LinkId) -> Option<Link> {
        self.by_id.remove(&link)
    }
}
