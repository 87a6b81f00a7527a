//! A socket's bounded queue. A reader too slow for it is cut off and comes back with its offset:
//! once one message did not fit, none is taken, so that the client never misses one unknowingly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::limits::{SEND_QUEUE_BYTES, SEND_QUEUE_MESSAGES};
use crate::signaling::{CloseCode, Frame};

/// What the writer of a socket does next.
#[derive(Debug)]
pub enum ToSocket {
    /// Write a message.
    Frame(Frame),
    /// Write a close frame and end.
    Close(CloseCode, String),
}

/// Why the room, or the queue, ends the conversation.
pub type Ending = (CloseCode, &'static str);

/// Puts messages into the queue; clones feed the same one.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::Sender<ToSocket>,
    endings: mpsc::Sender<Ending>,
    bytes: Arc<AtomicUsize>,
    overflowed: Arc<AtomicBool>,
}

/// Takes messages out of the queue.
#[derive(Debug)]
pub struct OutboxReader {
    queue: mpsc::Receiver<ToSocket>,
    bytes: Arc<AtomicUsize>,
}

/// A queue, its reader, and the endings meant for the session.
pub fn outbox() -> (Outbox, OutboxReader, mpsc::Receiver<Ending>) {
    let (queue, reader) = mpsc::channel(SEND_QUEUE_MESSAGES);
    let (endings, ending_reader) = mpsc::channel(4);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue,
        endings,
        bytes: Arc::clone(&bytes),
        overflowed: Arc::default(),
    };
    let reader = OutboxReader {
        queue: reader,
        bytes,
    };
    (outbox, reader, ending_reader)
}

impl Outbox {
    /// Queues a message, or cuts the reader off.
    pub fn send(&self, frame: Frame) {
        self.push(ToSocket::Frame(frame));
    }

    /// Queues the end.
    pub fn close(&self, code: CloseCode, reason: String) {
        self.push(ToSocket::Close(code, reason));
    }

    /// Asks the session to end the conversation, after what is queued already.
    pub fn end(&self, ending: Ending) {
        // A full channel holds an ending already.
        let _ = self.endings.try_send(ending);
    }

    /// Whether the reader was cut off.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }

    fn push(&self, item: ToSocket) {
        if self.overflowed() {
            return;
        }
        let size = size_of_item(&item);
        let queued = self.bytes.fetch_add(size, Ordering::AcqRel);
        let fits = queued + size <= SEND_QUEUE_BYTES;
        if fits && self.queue.try_send(item).is_ok() {
            return;
        }
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.overflowed.store(true, Ordering::Release);
        self.end((CloseCode::GoingAway, "the reader is too slow"));
    }
}

impl OutboxReader {
    /// The next thing to write; `None` when nothing can come any more.
    pub async fn next(&mut self) -> Option<ToSocket> {
        let item = self.queue.recv().await?;
        self.bytes.fetch_sub(size_of_item(&item), Ordering::AcqRel);
        Some(item)
    }
}

fn size_of_item(item: &ToSocket) -> usize {
    match item {
        ToSocket::Frame(frame) => frame.text.len(),
        ToSocket::Close(..) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::ServerMessage;

    fn pong() -> Frame {
        Frame::of(&ServerMessage::Pong { id: None })
    }

    #[tokio::test]
    async fn a_full_queue_cuts_the_reader_off_for_good() {
        let (outbox, mut reader, mut endings) = outbox();
        for _ in 0..SEND_QUEUE_MESSAGES {
            outbox.send(pong());
        }
        assert!(!outbox.overflowed());
        outbox.send(pong());
        assert!(outbox.overflowed());
        assert_eq!(endings.recv().await.unwrap().0, CloseCode::GoingAway);
        for _ in 0..SEND_QUEUE_MESSAGES {
            assert!(reader.next().await.is_some());
        }
        outbox.send(pong());
        drop(outbox);
        assert!(reader.next().await.is_none(), "nothing after the gap");
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let (outbox, mut reader, _endings) = outbox();
        let sdp = "x".repeat(SEND_QUEUE_BYTES / 2);
        let offer = Frame::of(&ServerMessage::Offer {
            revision: 1,
            sdp: &sdp,
            tracks: &[],
        });
        for _ in 0..10 {
            outbox.send(offer.clone());
            reader.next().await;
        }
        assert!(!outbox.overflowed(), "what was read does not count");
        outbox.send(offer.clone());
        outbox.send(offer);
        assert!(outbox.overflowed());
    }
}
