//! Messages between nodes about tracks, the same in both directions, and the queue of one link.
//!
//! The carrier of the link takes messages out with [`LinkQueue::poll`]. If the media queue is full, the caller drops
//! and counts the packet. Control messages are sent before media: they are few, and decide which media is needed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::limits::{LINK_MESSAGES, LINK_PACKETS};
use crate::media::packet::MediaPacket;
use crate::media::track::{TrackInfo, TrackStatus};

/// A message from one node to another.
#[derive(Debug, Clone)]
pub enum LinkMessage {
    /// Description and latest measurements of a track that the receiver requested.
    Track(Arc<TrackInfo>, TrackStatus),
    /// The sender does not send this track, or no longer.
    Gone(TrackKey),
    /// New measurements of a track.
    Status(TrackKey, TrackStatus),
    /// All layers of a track that the sender needs; an empty set ends the copies.
    Interest(TrackKey, LayerSet),
    /// The sender needs a keyframe of this layer.
    Keyframe(TrackKey, LayerIndex),
    /// A packet of a layer that the receiver needs, with the publisher's numbers.
    Media(MediaPacket),
}

/// Messages and media that wait to be sent over one link.
#[derive(Debug, Default)]
pub struct LinkQueue {
    messages: VecDeque<LinkMessage>,
    media: VecDeque<MediaPacket>,
    is_broken: bool,
}

/// The link's queue of media, or of control messages, is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{LINK_PACKETS} packets or {LINK_MESSAGES} messages wait already for a link that does not take them"
)]
pub struct LinkFull;

impl LinkQueue {
    /// Queues `message` behind all earlier messages of its kind.
    pub fn push(&mut self, message: LinkMessage) -> Result<(), LinkFull> {
        match message {
            LinkMessage::Media(packet) if self.media.len() < LINK_PACKETS => {
                self.media.push_back(packet);
                Ok(())
            }
            LinkMessage::Media(_) => Err(LinkFull),
            message if self.messages.len() < LINK_MESSAGES => {
                self.messages.push_back(message);
                Ok(())
            }
            _ => {
                self.is_broken = true;
                Err(LinkFull)
            }
        }
    }

    /// True after a control message did not fit: the other node has an incomplete state, so the link must be closed.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Removes the next message to send: control messages first, then media, each in order.
    pub fn poll(&mut self) -> Option<LinkMessage> {
        let media = || self.media.pop_front().map(LinkMessage::Media);
        self.messages.pop_front().or_else(media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::subscription::tests::packet;

    #[test]
    fn messages_go_first_and_media_that_does_not_fit_is_refused() {
        let mut queue = LinkQueue::default();
        for seq in 0..LINK_PACKETS as u64 {
            queue
                .push(LinkMessage::Media(packet(0, seq, false)))
                .unwrap();
        }
        let more = LinkMessage::Media(packet(0, 0, true));
        assert_eq!(queue.push(more.clone()), Err(LinkFull));
        queue.push(LinkMessage::Gone(TrackKey(1))).unwrap();
        assert!(matches!(queue.poll(), Some(LinkMessage::Gone(TrackKey(1)))));
        let Some(LinkMessage::Media(first)) = queue.poll() else {
            panic!("media waits");
        };
        assert_eq!(first.seq, 0);
        queue.push(more).unwrap();
        for track in 0..LINK_MESSAGES as u64 {
            queue.push(LinkMessage::Gone(TrackKey(track))).unwrap();
        }
        assert!(!queue.is_broken(), "lost media is no hole in what was told");
        assert_eq!(queue.push(LinkMessage::Gone(TrackKey(0))), Err(LinkFull));
        assert!(queue.is_broken());
    }
}
