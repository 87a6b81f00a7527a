//! Messages between nodes about tracks, the same in both directions, and the queue of one link.
//!
//! The carrier of the link takes messages out with [`LinkQueue::poll`]. If the queue is full, the caller drops the
//! media and counts it. Control messages go first: they are few, and say which media is needed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::key::{LayerIndex, LayerSet, TrackKey};
use crate::limits::{LINK_MESSAGES, LINK_PACKETS};
use crate::media::packet::MediaPacket;
use crate::media::track::{TrackInfo, TrackStatus};

/// One message of one node to another.
#[derive(Debug, Clone)]
pub enum LinkMessage {
    /// What a track is that the receiver asked for, and what was measured of it last.
    Track(Arc<TrackInfo>, TrackStatus),
    /// A track is not, or no longer, sent by the sender.
    Gone(TrackKey),
    /// What is measured of a track now.
    Status(TrackKey, TrackStatus),
    /// The sender needs these layers of a track, all that it needs; none ends the copies.
    Interest(TrackKey, LayerSet),
    /// The sender needs a keyframe.
    Keyframe(TrackKey, LayerIndex),
    /// A packet of a layer that the receiver needs, with the publisher's numbers.
    Media(MediaPacket),
}

/// What waits to be sent over one link.
#[derive(Debug, Default)]
pub struct LinkQueue {
    messages: VecDeque<LinkMessage>,
    media: VecDeque<MediaPacket>,
    is_broken: bool,
}

/// The queue of a link is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{LINK_PACKETS} packets or {LINK_MESSAGES} messages wait already for a link that does not take them"
)]
pub struct LinkFull;

impl LinkQueue {
    /// Adds `message` behind all that were added before.
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

    /// True once a message did not fit: what the other node was told has a hole, and the link has to be closed.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The next to send: messages in their order, then media in its order.
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
