//! The bounded queue of messages to a socket. If a message does not fit, the client is disconnected
//! and resumes with its offset. No later message is queued, so the client never misses one in
//! between.
//!
//! A tokio channel allocates kilobytes of blocks for each of thousands of idle sockets. The memory
//! of this queue grows with its content.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::dialect::{Dialect, Frame};
use crate::limits::{SEND_QUEUE_BYTES, SEND_QUEUE_MESSAGES};
use crate::room::{CloseCode, Notice};

/// An item for the socket's writer.
#[derive(Debug)]
pub enum ToSocket {
    /// Write this message, and count it.
    Frame(Frame),
    /// Write these bytes: encoded messages, or a control frame.
    Bytes(Bytes),
    /// Write a close frame, then end.
    Close(CloseCode, String),
}

/// Close code and reason with which the session must end.
pub type Ending = (CloseCode, &'static str);

/// Capacity that an empty queue keeps, in messages.
const KEPT_MESSAGES: usize = 4;

/// The sending side of the queue. Clones send to the same queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    sender: Arc<SenderHandle>,
    dialect: &'static dyn Dialect,
}

/// The receiving side of the queue.
#[derive(Debug)]
pub struct OutboxReader(Arc<Shared>);

/// Receives the reason why the session must end.
#[derive(Debug)]
pub struct EndingReader(Arc<Shared>);

/// Shared by all clones of an outbox. When it is dropped, the reader ends.
#[derive(Debug)]
struct SenderHandle(Arc<Shared>);

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
    sender: End,
    reader: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closed,
}

/// Creates a queue for a socket of `dialect`: sender, receiver, and receiver of the reason to end.
pub fn outbox(dialect: &'static dyn Dialect) -> (Outbox, OutboxReader, EndingReader) {
    let shared = Arc::<Shared>::default();
    let sender = Arc::new(SenderHandle(Arc::clone(&shared)));
    let outbox = Outbox { sender, dialect };
    let reader = OutboxReader(Arc::clone(&shared));
    (outbox, reader, EndingReader(shared))
}

impl Outbox {
    /// Dialect of the socket.
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    /// Encodes and queues a notice. If the queue is full, the session ends.
    pub fn send_notice(&self, notice: &Notice) {
        self.send(self.dialect.encode(notice));
    }

    /// Queues a message. If the queue is full, the session ends.
    pub fn send(&self, frame: Frame) {
        self.push(ToSocket::Frame(frame));
    }

    /// Queues encoded messages. If the queue is full, the session ends.
    pub fn send_bytes(&self, wire: Bytes) {
        self.push(ToSocket::Bytes(wire));
    }

    /// Queues a close frame behind all messages.
    pub fn close(&self, code: CloseCode, reason: String) {
        self.push(ToSocket::Close(code, reason));
    }

    /// Asks the session to end after the queued messages. Only the first reason counts.
    pub fn end(&self, ending: Ending) {
        let shared = self.shared();
        shared.state().ending.get_or_insert(ending);
        shared.ended.notify_one();
    }

    /// True if a message did not fit.
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
        if fits && state.reader == End::Open {
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
        let SenderHandle(shared) = &*self.sender;
        shared
    }
}

impl OutboxReader {
    /// Waits for items, and swaps all of them into `items`, which must be empty. False if the queue
    /// is empty and all senders are gone.
    pub async fn next(&mut self, items: &mut VecDeque<ToSocket>) -> bool {
        loop {
            if let Some(is_open) = self.try_next(items) {
                return is_open;
            }
            // If an item was queued meanwhile, the permit is set already.
            self.0.queued.notified().await;
        }
    }

    /// [`next`](Self::next) without waiting; `None` if there is nothing yet.
    pub fn try_next(&mut self, items: &mut VecDeque<ToSocket>) -> Option<bool> {
        debug_assert!(items.is_empty());
        let mut state = self.0.state();
        if !state.items.is_empty() {
            state.bytes = 0;
            items.shrink_to(KEPT_MESSAGES);
            std::mem::swap(&mut state.items, items);
            return Some(true);
        }
        (state.sender == End::Closed).then_some(false)
    }
}

impl EndingReader {
    /// Waits for the reason to end. It comes once.
    pub async fn recv(&mut self) -> Ending {
        loop {
            if let Some(ending) = self.try_recv() {
                return ending;
            }
            self.0.ended.notified().await;
        }
    }

    /// The reason to end, if it has come.
    pub fn try_recv(&mut self) -> Option<Ending> {
        self.0.state().ending.take()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SenderHandle {
    fn drop(&mut self) {
        self.0.state().sender = End::Closed;
        self.0.queued.notify_one();
    }
}

impl Drop for OutboxReader {
    fn drop(&mut self) {
        self.0.state().reader = End::Closed;
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
