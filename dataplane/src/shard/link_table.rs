//! Links of a shard to other nodes: the queue of each, and its incoming and outgoing tracks.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::{LinkId, TrackKey};
use crate::limits::MAX_LINKS;
use crate::tree::link::LinkQueue;

/// All links, by their names.
#[derive(Debug, Default)]
pub struct Links {
    by_id: BTreeMap<LinkId, Link>,
}

/// State of one link to another node.
#[derive(Debug, Default)]
pub struct Link {
    /// Messages and packets that wait for the link.
    pub queue: LinkQueue,
    /// Tracks that it brings.
    pub imports: BTreeSet<TrackKey>,
    /// Tracks that it gets.
    pub exports: BTreeSet<TrackKey>,
}

/// There is no room for one more link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LINKS} links are the limit of a shard")]
pub struct TooManyLinks;

impl Links {
    /// A link that nothing has come over; one of that name stays as it is.
    pub fn open(&mut self, link: LinkId) -> Result<(), TooManyLinks> {
        if self.by_id.len() >= MAX_LINKS && !self.by_id.contains_key(&link) {
            return Err(TooManyLinks);
        }
        self.by_id.entry(link).or_default();
        Ok(())
    }

    /// The link of that name, if it is open.
    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.by_id.get_mut(&link)
    }

    /// Takes the link of that name out.
    pub fn close(&mut self, link: LinkId) -> Option<Link> {
        self.by_id.remove(&link)
    }
}
