//! The bounded queue of a socket. A client that reads too slowly is disconnected and comes back with its offset. After
//! one message did not fit, no other is queued, so the client notices the gap.
//!
//! A channel of the runtime keeps blocks for messages that are not there, kilobytes for each of thousands
//! of idle sockets; this queue is as large as what waits in it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::dialect::{Dialect, Frame};
use crate::limits::{SEND_QUEUE_BYTES, SEND_QUEUE_MESSAGES};
use crate::room::{CloseCode, Notice};

/// Next action of a socket's writer.
#[derive(Debug)]
pub enum ToSocket {
    /// Write this message to the socket.
    Frame(Frame),
    /// Write messages, or a control frame, as they are.
    Bytes(Bytes),
    /// Write a close frame and end.
    Close(CloseCode, String),
}

/// Why the room, or the queue, ends the conversation.
pub type Ending = (CloseCode, &'static str);

/// Messages an empty queue keeps room for.
const KEPT_MESSAGES: usize = 4;

/// Puts messages into the queue; clones feed the same one.
#[derive(Debug, Clone)]
pub struct Outbox {
    feeder: Arc<Feeder>,
    dialect: &'static dyn Dialect,
}

/// Takes messages out of the queue.
#[derive(Debug)]
pub struct OutboxReader(Arc<Shared>);

/// Hears why the conversation is to end.
#[derive(Debug)]
pub struct EndingReader(Arc<Shared>);

/// All clones of an outbox; with the last one nothing comes any more.
#[derive(Debug)]
struct Feeder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    overflowed: AtomicBool,
    queued: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<ToSocket>,
    bytes: usize,
    ending: Option<Ending>,
    feeder: Presence,
    reader: Presence,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Presence {
    #[default]
    Here,
    Gone,
}

/// A queue for a socket of `dialect`, its reader, and the endings meant for the session.
pub fn outbox(dialect: &'static dyn Dialect) -> (Outbox, OutboxReader, EndingReader) {
    let shared = Arc::<Shared>::default();
    let feeder = Arc::new(Feeder(Arc::clone(&shared)));
    let outbox = Outbox { feeder, dialect };
    let reader = OutboxReader(Arc::clone(&shared));
    (outbox, reader, EndingReader(shared))
}

impl Outbox {
    /// Dialect of the socket.
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    /// Queues a notice in these words, or cuts the reader off.
    pub fn tell(&self, notice: &Notice) {
        self.send(self.dialect.encode(notice));
    }

    /// Queues a message, or cuts the reader off.
    pub fn send(&self, frame: Frame) {
        self.push(ToSocket::Frame(frame));
    }

    /// Queues an encoded message, or disconnects a slow reader.
    pub fn send_bytes(&self, wire: Bytes) {
        self.push(ToSocket::Bytes(wire));
    }

    /// Queues the close of the socket behind all messages.
    pub fn close(&self, code: CloseCode, reason: String) {
        self.push(ToSocket::Close(code, reason));
    }

    /// Asks the session to end, after the queued messages.
    pub fn end(&self, ending: Ending) {
        let shared = self.shared();
        // The first one is the reason.
        shared.state().ending.get_or_insert(ending);
        shared.ended.notify_one();
    }

    /// True when the queue overflowed.
    pub fn overflowed(&self) -> bool {
        self.shared().overflowed.load(Ordering::Acquire)
    }

    fn push(&self, item: ToSocket) {
        let shared = self.shared();
        let mut state = shared.state();
        if self.overflowed() {
            return;
        }
        let bytes = state.bytes + size_of_item(&item);
        let fits = bytes <= SEND_QUEUE_BYTES && state.items.len() < SEND_QUEUE_MESSAGES;
        if fits && state.reader == Presence::Here {
            state.bytes = bytes;
            state.items.push_back(item);
            drop(state);
            shared.queued.notify_one();
            return;
        }
        shared.overflowed.store(true, Ordering::Release);
        drop(state);
        self.end((CloseCode::GoingAway, "the reader is too slow"));
    }

    fn shared(&self) -> &Shared {
        let Feeder(shared) = &*self.feeder;
        shared
    }
}

impl OutboxReader {
    /// Waits for something to write and takes all there is into `items`, which is empty; false when nothing
    /// can come any more.
    pub async fn next(&mut self, items: &mut VecDeque<ToSocket>) -> bool {
        debug_assert!(items.is_empty());
        loop {
            {
                let mut state = self.0.state();
                if !state.items.is_empty() {
                    state.bytes = 0;
                    items.shrink_to(KEPT_MESSAGES);
                    std::mem::swap(&mut state.items, items);
                    return true;
                }
                if state.feeder == Presence::Gone {
                    return false;
                }
            }
            // A message that came meanwhile left its permit.
            self.0.queued.notified().await;
        }
    }
}

impl EndingReader {
    /// Why to end; nothing more comes after it.
    pub async fn recv(&mut self) -> Ending {
        loop {
            if let Some(ending) = self.0.state().ending.take() {
                return ending;
            }
            self.0.ended.notified().await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.state().feeder = Presence::Gone;
        self.0.queued.notify_one();
    }
}

impl Drop for OutboxReader {
    fn drop(&mut self) {
        self.0.state().reader = Presence::Gone;
    }
}

fn size_of_item(item: &ToSocket) -> usize {
    match item {
        ToSocket::Frame(frame) => frame.wire.len(),
        ToSocket::Bytes(wire) => wire.len(),
        ToSocket::Close(..) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Offer;
    use crate::signaling::dialect::spillway::Spillway;

    fn pong() -> Frame {
        Spillway.encode(&Notice::Ok { id: 1 })
    }

    #[tokio::test]
    async fn a_full_queue_cuts_the_reader_off_for_good() {
        let (outbox, mut reader, mut endings) = outbox(&Spillway);
        for _ in 0..SEND_QUEUE_MESSAGES {
            outbox.send(pong());
        }
        assert!(!outbox.overflowed());
        outbox.send(pong());
        assert!(outbox.overflowed());
        assert_eq!(endings.recv().await.0, CloseCode::GoingAway);
        let mut items = VecDeque::new();
        assert!(reader.next(&mut items).await);
        assert_eq!(items.len(), SEND_QUEUE_MESSAGES);
        items.clear();
        outbox.send(pong());
        drop(outbox);
        assert!(!reader.next(&mut items).await, "nothing after the gap");
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let (outbox, mut reader, _endings) = outbox(&Spillway);
        let sdp = "x".repeat(SEND_QUEUE_BYTES / 2);
        let offer = Spillway.encode(&Notice::Offer(Offer {
            revision: 1,
            sdp,
            tracks: Vec::new(),
        }));
        for _ in 0..10 {
            outbox.send(offer.clone());
            let mut items = VecDeque::new();
            assert!(reader.next(&mut items).await);
        }
        assert!(!outbox.overflowed(), "what was read does not count");
        outbox.send(offer.clone());
        outbox.send(offer);
        assert!(outbox.overflowed());
    }
}
