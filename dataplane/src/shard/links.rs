//! Tracks received from and sent to other nodes. Messages of other nodes are checked here, because they can name
//! tracks, layers and packets that do not exist. A link does no IO: its carrier passes received messages in and polls
//! messages to send.

use std::sync::Arc;
use std::time::Instant;

use super::link_table::TooManyLinks;
use super::state::Shard;
use crate::drop_reason::DropReason;
use crate::key::{LayerIndex, LayerSet, LinkId, ShardId, TrackKey};
use crate::limits::{MAX_LAYERS, MAX_TRACKS_PER_LINK};
use crate::media::packet::MediaPacket;
use crate::media::track::{TrackInfo, TrackStatus};
use crate::mesh::message::ToShard;
use crate::tree::link::LinkMessage;
use crate::tree::source::{Origin, Target, home_of_import};

impl Shard {
    /// Opens a link to another node.
    pub fn open_link(&mut self, link: LinkId) -> Result<(), TooManyLinks> {
        self.links.open(link)
    }

    /// Closes a link. The tracks received over it end.
    pub fn close_link(&mut self, link: LinkId) {
        let Some(closed) = self.links.close(link) else {
            return;
        };
        for track in closed.exports {
            if let Some(entry) = self.tracks.get_mut(track) {
                entry.route.set_demand(Target::Link(link), LayerSet::NONE);
                self.report_demand(track);
            }
        }
        for track in closed.imports {
            self.end_track(track, Origin::Link(link));
        }
    }

    /// The next message to send over `link`.
    pub fn poll_link(&mut self, link: LinkId) -> Option<LinkMessage> {
        self.links.get_mut(link)?.queue.poll()
    }

    /// Handles a message received over `link`.
    pub fn on_link(&mut self, link: LinkId, message: LinkMessage, now: Instant) {
        if self.links.get_mut(link).is_none() {
            return; // the link was closed meanwhile
        }
        match message {
            LinkMessage::Track(info, status) => self.import(link, info, status, now),
            LinkMessage::Gone(track) => self.end_import(link, track),
            LinkMessage::Status(track, status) => {
                if self.is_from(track, Origin::Link(link)) {
                    self.spread_status(track, status);
                }
            }
            LinkMessage::Interest(track, layers) => self.export(link, track, layers),
            LinkMessage::Keyframe(track, layer) => {
                let is_sent_there =
                    |link: &mut super::link_table::Link| link.exports.contains(&track);
                if layer.index() < MAX_LAYERS && self.links.get_mut(link).is_some_and(is_sent_there)
                {
                    self.request_keyframe(track, layer, now);
                }
            }
            LinkMessage::Media(packet) => self.link_media(link, packet),
        }
    }

    /// Queues `message` for `link`. If the queue is full, the link is marked as broken, and its carrier must close it.
    pub(crate) fn send_to_link(&mut self, link: LinkId, message: LinkMessage) {
        let Some(open) = self.links.get_mut(link) else {
            return;
        };
        let was_broken = open.queue.is_broken();
        if let Err(full) = open.queue.push(message)
            && !was_broken
        {
            tracing::warn!(shard = self.id.0, link = link.0, %full, "a link is broken");
        }
    }

    /// A track enters the node over `link`. Only on the shard that is the home of the track for all links.
    fn import(&mut self, link: LinkId, info: Arc<TrackInfo>, status: TrackStatus, now: Instant) {
        let track = info.spec.key;
        let shards = u16::try_from(self.outbox.mesh().shards()).expect("MAX_SHARDS fits");
        let is_home = home_of_import(track, shards) == self.id;
        let Some(open) = self.links.get_mut(link).filter(|_| is_home) else {
            return self.report.drops.count(DropReason::NoTrack);
        };
        if info.spec.layers.len() > MAX_LAYERS || open.imports.len() >= MAX_TRACKS_PER_LINK {
            return self.report.drops.count(DropReason::NoTrack);
        }
        let entry = self.tracks.entry(track);
        // Another node must not replace a track that is published on this node or received over another link.
        if entry
            .route
            .origin()
            .is_some_and(|known| known != Origin::Link(link))
        {
            return self.report.drops.count(DropReason::NoTrack);
        }
        open.imports.insert(track);
        self.announce(info, status, Origin::Link(link), now);
    }

    fn end_import(&mut self, link: LinkId, track: TrackKey) {
        let open = self.links.get_mut(link);
        if open.is_some_and(|open| open.imports.remove(&track)) {
            self.end_track(track, Origin::Link(link));
        }
    }

    /// `link` needs `layers` of a track with its home on this shard.
    fn export(&mut self, link: LinkId, track: TrackKey, layers: LayerSet) {
        let Some(open) = self.links.get_mut(link) else {
            return;
        };
        let known: LayerSet = (0..MAX_LAYERS as u8)
            .map(LayerIndex)
            .filter(|layer| layers.contains(*layer))
            .collect();
        let is_over = known.is_empty();
        let has_room =
            is_over || open.exports.contains(&track) || open.exports.len() < MAX_TRACKS_PER_LINK;
        let entry = self.tracks.get_mut(track).filter(|_| has_room);
        let found = entry.and_then(|entry| {
            let info = entry.info.clone()?;
            let taken = entry.route.set_demand(Target::Link(link), known);
            taken.then_some((info, entry.status))
        });
        let Some((info, status)) = found else {
            open.exports.remove(&track);
            return self.send_to_link(link, LinkMessage::Gone(track));
        };
        let is_new = match is_over {
            true => !open.exports.remove(&track),
            false => open.exports.insert(track),
        };
        if is_new && !is_over {
            self.send_to_link(link, LinkMessage::Track(info, status));
        }
        self.report_demand(track);
    }

    fn link_media(&mut self, link: LinkId, packet: MediaPacket) {
        let entry = self.tracks.get_mut(packet.track);
        let entry = entry.filter(|entry| entry.route.origin() == Some(Origin::Link(link)));
        let info = entry.and_then(|entry| entry.info.as_ref());
        let is_known = info.is_some_and(|info| {
            let layers = info.spec.layers.len().max(1);
            packet.layer.index() < layers && usize::from(packet.codec) < info.codecs.len()
        });
        match is_known {
            true => self.forwarding.inbox.push(packet),
            false => self.report.drops.count(DropReason::NoTrack),
        }
    }

    fn is_from(&mut self, track: TrackKey, origin: Origin) -> bool {
        let entry = self.tracks.get_mut(track);
        entry.is_some_and(|entry| entry.route.origin() == Some(origin))
    }

    /// New measurements of a track that enters the node here: sends them to all targets.
    pub(crate) fn spread_status(&mut self, track: TrackKey, status: TrackStatus) {
        let Some(entry) = self.tracks.get_mut(track) else {
            return;
        };
        for (target, _) in entry.route.targets().to_vec() {
            match target {
                Target::Shard(shard) => self.send_to_shard(shard, ToShard::Status(track, status)),
                Target::Link(link) => self.send_to_link(link, LinkMessage::Status(track, status)),
            }
        }
        self.set_status(track, status);
    }

    /// Tells `target` that this shard sends nothing of `track` any more.
    pub(crate) fn report_track_gone(&mut self, track: TrackKey, target: Target) {
        match target {
            // Shards learn the new home of the track, or its end, from a message to all shards.
            Target::Shard(_) => {}
            Target::Link(link) => {
                if let Some(open) = self.links.get_mut(link) {
                    open.exports.remove(&track);
                }
                self.send_to_link(link, LinkMessage::Gone(track));
            }
        }
    }

    /// Shard `shard` needs `layers` of a track with its home on this shard.
    pub(crate) fn set_interest(&mut self, track: TrackKey, shard: ShardId, layers: LayerSet) {
        if let Some(entry) = self.tracks.get_mut(track) {
            entry.route.set_demand(Target::Shard(shard), layers);
            self.report_demand(track);
        }
    }
}
