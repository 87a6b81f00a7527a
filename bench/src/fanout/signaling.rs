//! Makes sessions on any kind of server.
//!
//! A thread of its own speaks the server's language, so that the farm never waits for it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::request::{Ask, Index, Told, Want};
use super::{janus, spillway};

/// The server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A data plane's gRPC control API.
    Spillway(SocketAddr),
    /// A Janus gateway's WebSocket: its VideoRoom.
    Janus(SocketAddr),
}

/// The conversation with the server.
pub struct Signaling {
    asks: Option<UnboundedSender<Ask>>,
    told: mpsc::Receiver<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Signaling {
    /// Connects to the control API of `server`.
    pub fn start(server: Server) -> anyhow::Result<Self> {
        let (asks, asked) = unbounded_channel();
        let (tell, told) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = move || runtime.block_on(converse(server, asked, tell, ready));
        let thread = std::thread::Builder::new()
            .name("signaling".into())
            .spawn(run)?;
        is_ready.recv().context("the signaling thread ended")??;
        Ok(Self {
            asks: Some(asks),
            told,
            thread: Some(thread),
        })
    }

    /// Asks for participant `index`; the answer comes as [`Told`].
    pub fn ask(&self, index: Index, want: Want) {
        if let Some(asks) = &self.asks {
            // An ended connection has reported its end.
            let _ = asks.send(Ask { index, want });
        }
    }

    /// The next answer of the server, if any.
    pub fn told(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

impl Drop for Signaling {
    /// Ends all sessions of the run.
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn converse(
    server: Server,
    asked: UnboundedReceiver<Ask>,
    tell: mpsc::Sender<Told>,
    ready: mpsc::Sender<anyhow::Result<()>>,
) {
    let ended = match server {
        Server::Spillway(control) => {
            let opened = spillway::Conversation::open(control, tell.clone()).await;
            let Some(conversation) = announce(opened, &ready) else {
                return;
            };
            conversation.run(asked).await
        }
        Server::Janus(websocket) => {
            let opened = janus::Conversation::open(websocket, tell.clone()).await;
            let Some(conversation) = announce(opened, &ready) else {
                return;
            };
            conversation.run(asked).await
        }
    };
    if let Err(error) = ended {
        let why = format!("signaling: {error:#}");
        let _ = tell.send(Told::Failed { index: None, why });
    }
}

/// Reports to the waiting thread that a connection is open, or the reason why not.
fn announce<T>(opened: anyhow::Result<T>, ready: &mpsc::Sender<anyhow::Result<()>>) -> Option<T> {
    let (conversation, said) = match opened {
        Ok(conversation) => (Some(conversation), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let _ = ready.send(said);
    conversation
}
