//! Makes sessions on any kind of server.
//!
//! A separate thread uses the server's API, so that the farm never waits for it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::request::{Index, Request, RequestKind, ServerEvent};
use super::{janus, spillway};

/// The server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A data plane's gRPC control API.
    Spillway(SocketAddr),
    /// A Janus gateway's WebSocket: its VideoRoom.
    Janus(SocketAddr),
}

/// Connection of the farm to the signaling thread.
pub struct Signaling {
    request_sender: Option<UnboundedSender<Request>>,
    event_receiver: mpsc::Receiver<ServerEvent>,
    thread: Option<JoinHandle<()>>,
}

impl Signaling {
    /// Connects to the control API of `server`.
    pub fn start(server: Server) -> anyhow::Result<Self> {
        let (request_sender, request_receiver) = unbounded_channel();
        let (event_sender, event_receiver) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = move || runtime.block_on(converse(server, request_receiver, event_sender, ready));
        let thread = std::thread::Builder::new()
            .name("signaling".into())
            .spawn(run)?;
        is_ready.recv().context("the signaling thread ended")??;
        Ok(Self {
            request_sender: Some(request_sender),
            event_receiver,
            thread: Some(thread),
        })
    }

    /// Sends a request for participant `index`. The answer arrives as [`ServerEvent`].
    pub fn send_request(&self, index: Index, kind: RequestKind) {
        if let Some(request_sender) = &self.request_sender {
            // An ended connection has reported its end.
            let _ = request_sender.send(Request { index, kind });
        }
    }

    /// The next event of the server, if any.
    pub fn next_event(&self) -> Option<ServerEvent> {
        self.event_receiver.try_recv().ok()
    }
}

impl Drop for Signaling {
    /// Ends all sessions of the run.
    fn drop(&mut self) {
        self.request_sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn converse(
    server: Server,
    request_receiver: UnboundedReceiver<Request>,
    event_sender: mpsc::Sender<ServerEvent>,
    ready: mpsc::Sender<anyhow::Result<()>>,
) {
    let ended = match server {
        Server::Spillway(control) => {
            let opened = spillway::ServerConnection::open(control, event_sender.clone()).await;
            let Some(conversation) = announce(opened, &ready) else {
                return;
            };
            conversation.run(request_receiver).await
        }
        Server::Janus(websocket) => {
            let opened = janus::ServerConnection::open(websocket, event_sender.clone()).await;
            let Some(conversation) = announce(opened, &ready) else {
                return;
            };
            conversation.run(request_receiver).await
        }
    };
    if let Err(error) = ended {
        let why = format!("signaling: {error:#}");
        let _ = event_sender.send(ServerEvent::Failed { index: None, why });
    }
}

/// Reports to the waiting thread that a connection is open, or the reason why not.
fn announce<T>(opened: anyhow::Result<T>, ready: &mpsc::Sender<anyhow::Result<()>>) -> Option<T> {
    let (conversation, result) = match opened {
        Ok(conversation) => (Some(conversation), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let _ = ready.send(result);
    conversation
}
