//! The tasks of a signaling socket: one reads, one writes. They run a [`Session`] and never wait
//! for each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};

use super::dialect::spillway::Spillway;
use super::upgrade::{Connection, OverQuota, Quota, Reader};
use super::writer::Writer;
use super::{Output, Session};
use crate::auth::Keys;
use crate::clock;
use crate::config::SignalingLimits;
use crate::entropy;
use crate::hub::{EndingReader, Hub, Outbox, RoomInput, ToSocket, outbox};
use crate::ids::RoomName;
use crate::limits::{CLOSE_TIME, FRAME_FACTOR};
use crate::metrics::Metrics;
use crate::room::{CloseCode, SocketId};

/// What all sockets of a server share.
#[derive(Debug)]
pub struct Sockets {
    /// Rooms and nodes of this server.
    pub hub: Arc<Hub>,
    /// Keys that check tokens.
    pub keys: Arc<Keys>,
    /// Limits of a client's messages.
    pub limits: SignalingLimits,
    /// `Some` when the server stops: the time over which it closes sockets.
    pub shutdown: watch::Receiver<Option<Duration>>,
    next: AtomicU64,
}

impl Sockets {
    /// The shared state of all sockets.
    pub fn new(
        hub: Arc<Hub>,
        keys: Arc<Keys>,
        limits: SignalingLimits,
        shutdown: watch::Receiver<Option<Duration>>,
    ) -> Self {
        let next = AtomicU64::new(0);
        Self {
            hub,
            keys,
            limits,
            shutdown,
            next,
        }
    }

    /// Serves one client until the socket is closed. `foreign` is the reason why the page's origin
    /// must not use demo tokens.
    pub async fn serve(self: Arc<Self>, connection: Connection, foreign: Option<String>) {
        let metrics = self.hub.metrics();
        metrics.sockets.inc();
        let (outbox, reader, endings) = outbox(&Spillway);
        let bytes = self.limits.message_bytes * FRAME_FACTOR;
        let quota = Quota::unjoined();
        let reading = (bytes, quota.clone());
        let (stream, output) = connection.split(outbox.clone(), reading).await;
        let (last_messages, last) = oneshot::channel();
        let joined_at = Arc::new(OnceLock::new());
        let writer = Writer {
            output,
            reader,
            hub: Arc::clone(&self.hub),
            joined_at: Arc::clone(&joined_at),
        };
        let mut task = SocketTask {
            id: SocketId(self.next.fetch_add(1, Ordering::Relaxed)),
            session: Session::new(Arc::clone(&self.keys), self.limits, clock::now())
                .of_origin(foreign),
            room: None,
            outbox,
            endings,
            last_messages: Some(last_messages),
            sockets: Arc::clone(&self),
            quota,
            joined_at,
            oversized: false,
        };
        let mut writing = tokio::spawn(writer.run(last));
        let mut stream = task.run(stream, &mut writing).await;
        let is_unreadable = task.oversized;
        if let Some(room) = task.room.take() {
            let gone = RoomInput::SocketGone(task.id);
            Box::pin(self.hub.send(&room, gone)).await;
        }
        drop(task);
        // Wait for the peer's close frame and read its last messages. Otherwise TCP would reset the
        // connection before the peer has read our close frame.
        let closing = async {
            let reading = async move { while let Some(Ok(_)) = stream.next().await {} };
            let written = async {
                if !writing.is_finished() {
                    // Wait only for the end of the task.
                    let _ = (&mut writing).await;
                }
            };
            tokio::join!(reading, written);
            if is_unreadable {
                // The remaining bytes of the peer cannot be parsed. The peer gets time to read the
                // close frame.
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(CLOSE_TIME, Box::pin(closing)).await;
        writing.abort();
        metrics.sockets.dec();
    }
}

struct SocketTask {
    id: SocketId,
    session: Session,
    room: Option<RoomName>,
    outbox: Outbox,
    endings: EndingReader,
    last_messages: Option<oneshot::Sender<Vec<ToSocket>>>,
    sockets: Arc<Sockets>,
    quota: Quota,
    joined_at: Arc<OnceLock<Instant>>,
    /// A frame was too large: the stream cannot be read any further.
    oversized: bool,
}

impl SocketTask {
    /// Runs until the session is closed, the peer has disconnected, or writing failed.
    async fn run(
        &mut self,
        mut stream: Reader,
        writing: &mut tokio::task::JoinHandle<()>,
    ) -> Reader {
        let mut shutdown = self.sockets.shutdown.clone();
        let mut close_at = close_time(&shutdown);
        loop {
            let deadline = self
                .session
                .poll_timeout()
                .into_iter()
                .chain(close_at)
                .min();
            let deadline = deadline.unwrap_or_else(clock::now);
            tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(message)) => self.receive(message),
                    Some(Err(error)) => match exceeded_limit(&error) {
                        Some(why) => {
                            self.oversized = true;
                            match why {
                                ReadLimit::Message => {
                                    self.session.handle_oversized(self.session.message_bytes());
                                }
                                ReadLimit::BeforeJoin => self.session.handle_over_quota(&OverQuota),
                            }
                        }
                        None => return stream,
                    },
                    None => return stream,
                },
                (code, reason) = self.endings.recv() => {
                    self.session.handle_close(code, reason);
                }
                Ok(()) = shutdown.changed() => close_at = close_time(&shutdown),
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = clock::now();
                    if close_at.is_some_and(|at| at <= now) {
                        self.session.handle_close(CloseCode::GoingAway, "the server is going away");
                    }
                    self.session.handle_timeout(now);
                }
                _ = &mut *writing => return stream,
            }
            // Boxed, because otherwise the task of each idle socket would hold this memory.
            if Box::pin(self.drain()).await {
                return stream;
            }
        }
    }

    fn receive(&mut self, message: Message) {
        let now = clock::now();
        match message {
            Message::Text(text) => {
                self.session
                    .handle_text(text.as_str(), now, clock::unix_seconds());
            }
            Message::Binary(bytes) => self.session.handle_binary(&bytes, now),
            Message::Ping(_) | Message::Pong(_) => self.session.handle_alive(now),
            // The library ends the stream next. It does not return raw frames.
            Message::Close(_) | Message::Frame(_) => {}
        }
    }

    /// Executes the outputs of the session. True if the session is closed.
    async fn drain(&mut self) -> bool {
        let mut last_messages = Vec::new();
        let cut_off = self.outbox.overflowed();
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(frame) if cut_off => last_messages.push(ToSocket::Frame(frame)),
                Output::Send(frame) => self.outbox.send(frame),
                Output::Join(request) => {
                    self.quota.lift();
                    // Only the first join sets the time.
                    let _ = self.joined_at.set(clock::now());
                    self.metrics().count_message("join");
                    self.sockets.hub.wait_for_nodes().await;
                    let room = request.room.clone();
                    let (socket, outbox) = (self.id, self.outbox.clone());
                    let join = RoomInput::Join {
                        socket,
                        outbox,
                        request,
                        node: self.sockets.hub.fleet().choose(&room),
                    };
                    self.sockets.hub.send(&room, join).await;
                    self.room = Some(room);
                }
                Output::Request { id, request } => {
                    self.metrics().count_message(request.name());
                    if let Some(room) = &self.room {
                        let socket = self.id;
                        let request = RoomInput::Request {
                            socket,
                            id,
                            request,
                        };
                        self.sockets.hub.send(room, request).await;
                    }
                }
                Output::Close { code, reason } => {
                    self.metrics().count_close(code.number());
                    if cut_off {
                        last_messages.push(ToSocket::Close(code, reason));
                        if let Some(writer) = self.last_messages.take() {
                            // A writer that has ended needs no last messages.
                            let _ = writer.send(last_messages);
                        }
                    } else {
                        self.outbox.close(code, reason);
                    }
                    return true;
                }
            }
        }
        false
    }

    fn metrics(&self) -> &Metrics {
        self.sockets.hub.metrics()
    }
}

/// A limit of received bytes that the client exceeded.
enum ReadLimit {
    Message,
    /// Bytes of all messages before `join`.
    BeforeJoin,
}

fn exceeded_limit(error: &tungstenite::Error) -> Option<ReadLimit> {
    match error {
        tungstenite::Error::Capacity(_) => Some(ReadLimit::Message),
        tungstenite::Error::Io(error) => {
            let is_quota = error.get_ref().is_some_and(|inner| inner.is::<OverQuota>());
            is_quota.then_some(ReadLimit::BeforeJoin)
        }
        _ => None,
    }
}

/// Time at which a stopping server closes this socket. It is random, so that clients do not
/// reconnect at the same time.
fn close_time(shutdown: &watch::Receiver<Option<Duration>>) -> Option<Instant> {
    let drain = (*shutdown.borrow())?;
    Some(clock::now() + entropy::part_of(drain))
}
