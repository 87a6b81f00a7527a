//! The sockets of a room, and the messages that all of them receive.
//!
//! A busy room sends many small messages to many sockets. If each message were written by itself,
//! its system calls and wake-ups would cost more than everything else. So the room buffers
//! broadcasts for a short time, and gives every socket with the same dialect the same bytes. A
//! message to one socket is sent at once, after the broadcasts before it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::dialect::Dialect;
use super::outbox::Outbox;
use crate::limits::{
    BROADCAST_BYTES, BROADCAST_INTERVAL, BROADCAST_INTERVAL_PER_SOCKET, BUSY_TIME,
    PLACEHOLDER_BYTES, PLACEHOLDER_INTERVAL,
};
use crate::room::{Notice, SocketId};

/// The sockets of a room, with a buffer of broadcasts for each dialect.
#[derive(Debug, Default)]
pub(super) struct Audience {
    recipient_by_socket: HashMap<SocketId, Recipient>,
    /// One buffer for each dialect that a socket of the room has used.
    streams: Vec<Stream>,
    /// Start of a time in which only placeholders for private messages were buffered.
    placeholders_since: Option<Instant>,
    flushed_at: Option<Instant>,
}

/// Broadcasts in one dialect.
#[derive(Debug)]
struct Stream {
    dialect: &'static dyn Dialect,
    /// Messages that are not sent yet.
    buffer: BytesMut,
}

#[derive(Debug)]
struct Recipient {
    outbox: Outbox,
    /// Index of the buffer in `Audience::streams`.
    stream: usize,
    /// Number of bytes of the buffer that were sent to this socket; `None` before `joined`.
    sent_bytes: Option<usize>,
}

impl Audience {
    /// Adds a socket. It gets broadcasts after `joined`.
    pub(super) fn enter(&mut self, socket: SocketId, outbox: Outbox) {
        let recipient = Recipient {
            stream: self.stream(outbox.dialect()),
            outbox,
            sent_bytes: None,
        };
        self.recipient_by_socket.insert(socket, recipient);
    }

    /// Removes a socket. Returns its queue, after sending the buffered broadcasts.
    pub(super) fn leave(&mut self, socket: SocketId) -> Option<Outbox> {
        let mut recipient = self.recipient_by_socket.remove(&socket)?;
        recipient.catch_up(&self.streams[recipient.stream].buffer);
        Some(recipient.outbox)
    }

    /// Sends a notice to one socket, after the buffered broadcasts.
    pub(super) fn send(&mut self, socket: SocketId, notice: &Notice) {
        let Some(recipient) = self.recipient_by_socket.get_mut(&socket) else {
            return;
        };
        let buffer = &self.streams[recipient.stream].buffer;
        recipient.catch_up(buffer);
        if let Notice::Joined(_) = notice {
            // `joined` contains what the buffered broadcasts report.
            recipient.sent_bytes = Some(buffer.len());
        }
        recipient.outbox.send_notice(notice);
    }

    /// Buffers a notice for all sockets; [`Self::handle_timeout`] sends it.
    pub(super) fn broadcast(&mut self, notice: &Notice) {
        for stream in &mut self.streams {
            let frame = stream.dialect.encode(notice);
            stream.buffer.extend_from_slice(&frame.wire);
        }
        self.placeholders_since = None;
    }

    /// Sends a notice to `sockets`. For all other sockets a placeholder is buffered, so that they
    /// do not wake up for it.
    pub(super) fn send_private(
        &mut self,
        sockets: &[SocketId],
        (notice, withheld): (&Notice, &Notice),
        now: Instant,
    ) {
        if self.buffered_bytes() == 0 {
            self.placeholders_since = Some(now);
        }
        for index in 0..self.streams.len() {
            let stream = &mut self.streams[index];
            let (frame, placeholder) = (
                stream.dialect.encode(notice),
                stream.dialect.encode(withheld),
            );
            let before = stream.buffer.len();
            stream.buffer.extend_from_slice(&placeholder.wire);
            for socket in sockets {
                let recipient = self.recipient_by_socket.get_mut(socket);
                let Some(recipient) = recipient.filter(|recipient| recipient.stream == index)
                else {
                    continue;
                };
                recipient.catch_up(&stream.buffer[..before]);
                if recipient.sent_bytes.is_some() {
                    recipient.sent_bytes = Some(stream.buffer.len());
                    recipient.outbox.send(frame.clone());
                }
            }
        }
    }

    /// Time of the next [`Audience::handle_timeout`].
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let buffer = self.buffered_bytes();
        if buffer == 0 {
            return None;
        }
        if let Some(since) = self.placeholders_since
            && buffer < PLACEHOLDER_BYTES
        {
            return Some(since + PLACEHOLDER_INTERVAL);
        }
        let is_stream = |at: &Instant| now.saturating_duration_since(*at) < BUSY_TIME;
        let rested = self
            .flushed_at
            .filter(is_stream)
            .map(|at| at + self.interval());
        rested.filter(|_| buffer < BROADCAST_BYTES).or(Some(now))
    }

    /// Sends the buffers, if their time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout(now).is_none_or(|at| at > now) {
            return;
        }
        self.flushed_at = Some(now);
        self.placeholders_since = None;
        let take = |stream: &mut Stream| std::mem::take(&mut stream.buffer).freeze();
        let buffer: Vec<Bytes> = self.streams.iter_mut().map(take).collect();
        for recipient in self.recipient_by_socket.values_mut() {
            if let Some(sent) = &mut recipient.sent_bytes {
                let buffer = &buffer[recipient.stream];
                if *sent < buffer.len() {
                    recipient.outbox.send_bytes(buffer.slice(*sent..));
                }
                *sent = 0;
            }
        }
    }

    fn stream(&mut self, dialect: &'static dyn Dialect) -> usize {
        let known = self
            .streams
            .iter()
            .position(|s| s.dialect.name() == dialect.name());
        known.unwrap_or_else(|| {
            let buffer = BytesMut::new();
            self.streams.push(Stream { dialect, buffer });
            self.streams.len() - 1
        })
    }

    /// Number of bytes in the largest buffer.
    fn buffered_bytes(&self) -> usize {
        let bytes = self.streams.iter().map(|stream| stream.buffer.len());
        bytes.max().unwrap_or(0)
    }

    fn interval(&self) -> Duration {
        let sockets = u32::try_from(self.recipient_by_socket.len()).unwrap_or(u32::MAX);
        BROADCAST_INTERVAL_PER_SOCKET
            .saturating_mul(sockets)
            .min(BROADCAST_INTERVAL)
    }
}

impl Recipient {
    fn catch_up(&mut self, buffer: &[u8]) {
        if let Some(sent) = &mut self.sent_bytes
            && *sent < buffer.len()
        {
            let rest = Bytes::copy_from_slice(&buffer[*sent..]);
            self.outbox.send_bytes(rest);
            *sent = buffer.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::super::{OutboxReader, ToSocket, outbox};
    use super::*;
    use crate::clock;
    use crate::history::Ephemeral;
    use crate::hub::Frame;
    use crate::metrics::Label;
    use crate::room::{Joined, JoinedLimits, Mode};
    use crate::turn::Relays;

    /// A test dialect: a notice is its topic, in lower or upper case.
    #[derive(Debug)]
    struct Topics {
        is_loud: bool,
    }

    impl Dialect for Topics {
        fn name(&self) -> &'static str {
            if self.is_loud { "loud" } else { "quiet" }
        }

        fn encode(&self, notice: &Notice) -> Frame {
            let text = match notice {
                Notice::Message(message) => message.topic.clone(),
                Notice::Joined(_) => "joined ".to_owned(),
                other => panic!("not of this test: {other:?}"),
            };
            let text = if self.is_loud {
                text.to_uppercase()
            } else {
                text
            };
            Frame {
                wire: text.into(),
                label: Label::Plain,
            }
        }
    }

    static QUIET: Topics = Topics { is_loud: false };
    static LOUD: Topics = Topics { is_loud: true };

    fn message(text: &'static str) -> Notice {
        Notice::Message(Arc::new(Ephemeral {
            participant: "PA_0000000000000000".parse().unwrap(),
            identity: "ann".parse().unwrap(),
            topic: text.to_owned(),
            payload: 0.into(),
            to: None,
        }))
    }

    fn joined() -> Notice {
        Notice::Joined(Box::new(Joined {
            id: None,
            mode: Mode::New,
            room: "r".parse().unwrap(),
            participant: "PA_0000000000000000".parse().unwrap(),
            identity: "ann".parse().unwrap(),
            epoch: "e".parse().unwrap(),
            offset: 0,
            resume_key: String::new(),
            participants: None,
            relays: Relays::default(),
            limits: JoinedLimits {
                message_bytes: 1,
                messages_per_second: 1,
                tracks: 1,
            },
        }))
    }

    /// Text that the socket received since the last call.
    fn received(reader: &mut OutboxReader) -> String {
        let mut items = VecDeque::new();
        if reader.next(&mut items).now_or_never() != Some(true) {
            return String::new();
        }
        let text = |item| match item {
            ToSocket::Frame(frame) => frame.wire,
            ToSocket::Bytes(wire) => wire,
            ToSocket::Close(..) => Bytes::from_static(b"close"),
        };
        let parts = items.into_iter().map(text);
        parts
            .map(|part| String::from_utf8(part.to_vec()).unwrap())
            .collect()
    }

    fn add_socket(audience: &mut Audience, number: u64) -> (SocketId, OutboxReader) {
        let (outbox, reader, _) = outbox(&QUIET);
        audience.enter(SocketId(number), outbox);
        (SocketId(number), reader)
    }

    #[test]
    fn a_private_message_wakes_only_those_it_is_for() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let mut all: Vec<_> = (0..1_000).map(|n| add_socket(&mut audience, n)).collect();
        for (socket, reader) in &mut all {
            audience.send(*socket, &joined());
            received(reader);
        }
        let (bob, _) = all[7];
        // The work for a message does not depend on the number of sockets.
        for n in 0..100 {
            let now = start + n * PLACEHOLDER_INTERVAL / 200;
            audience.send_private(&[bob], (&message("secret "), &message("private ")), now);
            audience.handle_timeout(now);
            let woken = all.iter_mut().map(|(_, reader)| received(reader));
            let woken: Vec<_> = woken
                .enumerate()
                .filter(|(_, said)| !said.is_empty())
                .collect();
            assert_eq!(woken, [(7, "secret ".to_owned())]);
        }
        let due = audience.poll_timeout(start).unwrap();
        assert_eq!(due, start + PLACEHOLDER_INTERVAL);
        audience.handle_timeout(due);
        assert_eq!(received(&mut all[6].1), "private ".repeat(100), "no gaps");
        assert_eq!(received(&mut all[7].1), "");
    }

    #[test]
    fn what_stands_for_private_messages_goes_with_what_comes_next() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let (bob, mut bob_reader) = add_socket(&mut audience, 1);
        let (eve, mut eve_reader) = add_socket(&mut audience, 2);
        for socket in [bob, eve] {
            audience.send(socket, &joined());
        }
        received(&mut bob_reader);
        received(&mut eve_reader);
        let secret = (&message("secret "), &message("private "));
        audience.send_private(&[bob], secret, start);
        audience.broadcast(&message("all "));
        audience.send_private(&[bob], secret, start);
        audience.handle_timeout(start);
        assert_eq!(received(&mut bob_reader), "secret all secret ");
        assert_eq!(received(&mut eve_reader), "private all private ");
        audience.send_private(&[bob], secret, start);
        audience.send(eve, &message("reply "));
        assert_eq!(received(&mut eve_reader), "private reply ");
        // So many placeholders that they are sent like a broadcast.
        let many = PLACEHOLDER_BYTES / "private ".len();
        for _ in 0..=many {
            audience.send_private(&[bob], secret, start);
        }
        assert!(audience.poll_timeout(start).unwrap() <= start + BROADCAST_INTERVAL);
    }

    #[test]
    fn the_first_news_goes_at_once_and_a_stream_of_it_together() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let (socket, mut reader) = add_socket(&mut audience, 1);
        let others: Vec<_> = (2..=10)
            .map(|number| add_socket(&mut audience, number))
            .collect();
        let interval = Duration::from_millis(10);
        audience.send(socket, &joined());
        audience.broadcast(&message("a "));
        audience.handle_timeout(start);
        assert_eq!(received(&mut reader), "joined a ");
        audience.broadcast(&message("b "));
        audience.handle_timeout(start + Duration::from_millis(1));
        audience.broadcast(&message("c "));
        let due = audience.poll_timeout(start + Duration::from_millis(2));
        assert_eq!(due, Some(start + interval));
        audience.handle_timeout(start + Duration::from_millis(2));
        assert_eq!(received(&mut reader), "");
        audience.handle_timeout(start + interval);
        assert_eq!(received(&mut reader), "b c ");
        assert_eq!(audience.poll_timeout(start + interval), None);
        let later = start + interval + BUSY_TIME;
        audience.broadcast(&message("d "));
        audience.handle_timeout(later);
        assert_eq!(received(&mut reader), "d ");
        drop(others);
    }

    #[test]
    fn many_sockets_do_not_make_news_late() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let others: Vec<_> = (0..1_000)
            .map(|number| add_socket(&mut audience, number))
            .collect();
        audience.broadcast(&message("a"));
        audience.handle_timeout(start);
        audience.broadcast(&message("b"));
        assert_eq!(
            audience.poll_timeout(start),
            Some(start + BROADCAST_INTERVAL)
        );
        drop(others);
    }

    #[test]
    fn what_is_for_one_comes_after_the_news_before_it_and_nothing_comes_twice() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let (first, mut first_reader) = add_socket(&mut audience, 1);
        let (second, mut second_reader) = add_socket(&mut audience, 2);
        audience.send(first, &joined());
        audience.broadcast(&message("a "));
        audience.handle_timeout(start);
        audience.broadcast(&message("b "));
        audience.send(second, &joined());
        audience.broadcast(&message("c "));
        audience.send(first, &message("reply "));
        audience.broadcast(&message("d "));
        audience.handle_timeout(start + BROADCAST_INTERVAL);
        assert_eq!(received(&mut first_reader), "joined a b c reply d ");
        assert_eq!(received(&mut second_reader), "joined c d ");
        audience.broadcast(&message("e "));
        audience.leave(first);
        audience.handle_timeout(start + 2 * BROADCAST_INTERVAL);
        assert_eq!(received(&mut first_reader), "e ", "until it left");
        assert_eq!(received(&mut second_reader), "e ");
    }

    #[test]
    fn everybody_is_told_in_the_words_of_their_dialect() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let (ann, mut ann_reader) = add_socket(&mut audience, 1);
        let (outbox, mut bob_reader, _) = outbox(&LOUD);
        let bob = SocketId(2);
        audience.enter(bob, outbox);
        for socket in [ann, bob] {
            audience.send(socket, &joined());
        }
        audience.broadcast(&message("all "));
        audience.send_private(&[bob], (&message("secret "), &message("private ")), start);
        audience.handle_timeout(start + BROADCAST_INTERVAL);
        assert_eq!(received(&mut ann_reader), "joined all private ");
        assert_eq!(received(&mut bob_reader), "JOINED ALL SECRET ");
    }

    #[test]
    fn who_is_not_in_hears_nothing() {
        let mut audience = Audience::default();
        let (_, mut reader) = add_socket(&mut audience, 1);
        audience.broadcast(&message("a "));
        audience.handle_timeout(clock::now());
        assert_eq!(received(&mut reader), "");
    }

    #[test]
    fn much_news_does_not_wait() {
        let (mut audience, start) = (Audience::default(), clock::now());
        let _somebody = add_socket(&mut audience, 1);
        audience.broadcast(&message("a"));
        audience.handle_timeout(start);
        for _ in 0..BROADCAST_BYTES {
            audience.broadcast(&message("b"));
        }
        assert_eq!(audience.poll_timeout(start), Some(start));
    }
}
