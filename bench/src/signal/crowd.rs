//! The participants: one task with a WebSocket each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::client_async;

use super::board::{Board, JOIN};
use super::files;
use super::wire::Wire;
use crate::canary::token::TokenSource;

/// Order to a participant.
#[derive(Debug)]
pub enum Order {
    /// Send this text as a message.
    SendMessage(String),
    /// Close the connection, and resume at this server.
    Return(SocketAddr),
    /// Leave now, and join again at this time.
    Rejoin {
        /// Time since the creation of the board, in µs.
        due_us: u64,
    },
    /// Leave the room and close the socket.
    Leave,
}

/// A participant that will join.
#[derive(Debug, Clone)]
pub struct Joiner {
    /// Index of the participant.
    pub index: usize,
    /// Address of the server to join at.
    pub server: SocketAddr,
    /// Name of the room to join.
    pub room: String,
}

/// Participants that have a task.
pub struct Crowd {
    board: Arc<Board>,
    tokens: Arc<TokenSource>,
    mouths: Vec<mpsc::UnboundedSender<Order>>,
}

/// Maximum time from the last due join until all have joined.
pub const JOIN_TIME: Duration = Duration::from_secs(60);
/// Interval of checks for progress.
pub const LOOK: Duration = Duration::from_millis(20);
/// Maximum time in which a server closes the connection of a participant that left.
const LEAVE_TIME: Duration = Duration::from_secs(10);

impl Crowd {
    /// A crowd without participants.
    pub fn new(board: &Arc<Board>, tokens: &Arc<TokenSource>) -> Self {
        Self {
            board: Arc::clone(board),
            tokens: Arc::clone(tokens),
            mouths: Vec::new(),
        }
    }

    /// Starts the task of the next participant.
    pub fn add(&mut self, joiner: Joiner) {
        let (mouth, orders) = mpsc::unbounded_channel();
        self.mouths.push(mouth);
        let (board, tokens) = (Arc::clone(&self.board), Arc::clone(&self.tokens));
        tokio::spawn(participate(board, joiner, tokens, orders));
    }

    /// Number of participants that were started.
    pub fn len(&self) -> usize {
        self.mouths.len()
    }

    /// True if there is no participant.
    pub fn is_empty(&self) -> bool {
        self.mouths.is_empty()
    }

    /// Sends an order to a participant. A participant that has ended reported its end before.
    pub fn order(&self, participant: usize, order: Order) {
        let _ = self.mouths[participant].send(order);
    }

    /// Waits until `wanted` joins were answered. Fails if a participant could not join, or after a time limit.
    pub async fn joined(&self, wanted: usize) -> anyhow::Result<()> {
        let end = Instant::now() + JOIN_TIME;
        loop {
            let joined = self.joins()?;
            if joined >= wanted {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "{joined} of {wanted} joined within {} s",
                    JOIN_TIME.as_secs()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Number of answered joins. Fails if a participant could not join or stay.
    pub fn joins(&self) -> anyhow::Result<usize> {
        let results = self.board.results();
        match &results.why_broken {
            Some(why) => bail!("{} of {} broke; {why}", results.broken, self.len()),
            None => Ok(results.joined),
        }
    }
}

/// Joins, executes orders, and records events until the orders end.
async fn participate(
    board: Arc<Board>,
    joiner: Joiner,
    tokens: Arc<TokenSource>,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    let index = joiner.index;
    if let Err(error) = converse(&board, joiner, &tokens, orders).await {
        let mut results = board.results();
        results.broken += 1;
        results
            .why_broken
            .get_or_insert_with(|| format!("participant {index}: {error:#}"));
    }
}

async fn converse(
    board: &Board,
    mut joiner: Joiner,
    tokens: &TokenSource,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let mut socket = connect(&joiner).await?;
    let mut token = join(board, &mut socket, &joiner, tokens, board.now_us()).await?;
    let (mut pass, mut lost_at) = (None, None);
    loop {
        tokio::select! {
            biased;
            results = socket.receive(|text| {
                if let Some(given) = board.receive(joiner.index, text)? {
                    pass = Some(given);
                    if let Some(lost_at) = lost_at.take() {
                        board.came_back(lost_at);
                    }
                }
                Ok(())
            }) => results?,
            order = orders.recv() => match order {
                Some(Order::SendMessage(said)) => socket.send_message(&said).await?,
                Some(Order::Return(server)) => {
                    let pass = pass.as_ref().context("it has not joined yet")?;
                    lost_at = Some(board.now_us());
                    joiner.server = server;
                    socket = connect(&joiner).await?; // the old connection is dropped without a close
                    socket.send_message(&board.resume(joiner.index, &token, pass)).await?;
                }
                Some(Order::Rejoin { due_us }) => {
                    let leave_us = board.now_us();
                    leave(socket).await?;
                    let closed_us = board.now_us();
                    socket = connect(&joiner).await?;
                    board.reconnected(leave_us, closed_us);
                    sleep_until(board.moment(due_us).into()).await;
                    token = join(board, &mut socket, &joiner, tokens, due_us).await?;
                }
                Some(Order::Leave) => return leave(socket).await,
                None => return Ok(()),
            },
        }
    }
}

/// Sends the request to join. Returns its token.
async fn join(
    board: &Board,
    socket: &mut Wire,
    joiner: &Joiner,
    tokens: &TokenSource,
    due_us: u64,
) -> anyhow::Result<String> {
    let token = tokens.token(&joiner.room, &format!("p{}", joiner.index))?;
    let join = json!({"type": "join", "id": JOIN, "token": token, "auto_subscribe": false});
    board.join_is_due(joiner.index, due_us);
    socket.send_message(&join.to_string()).await?;
    Ok(token)
}

/// Leaves, and waits until the server closes the connection. Closing it with unread bytes would reset it, and the
/// message could be lost.
async fn leave(mut socket: Wire) -> anyhow::Result<()> {
    socket.send_message(r#"{"type":"leave","id":3}"#).await?;
    let close = async { while socket.receive(|_| Ok(())).await.is_ok() {} };
    let closed = tokio::time::timeout(LEAVE_TIME, close).await;
    closed.with_context(|| format!("not closed within {} s of leaving", LEAVE_TIME.as_secs()))
}

async fn connect(joiner: &Joiner) -> anyhow::Result<Wire> {
    let socket = match joiner.server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let source = files::source(joiner.server, joiner.index);
    // A port that is free towards this server, chosen at connect. A port that is free towards all servers would need a
    // search through all used ports.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket
        .bind(source)
        .with_context(|| format!("no port of {source}"))?;
    let stream = socket.connect(joiner.server).await;
    let stream = stream.with_context(|| format!("cannot connect to {}", joiner.server))?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}/v1/signal", joiner.server);
    // A server sends no message before a request, so the handshake has read only its own answer.
    let (socket, _) = client_async(url, stream).await?;
    Ok(Wire::new(socket.into_inner()))
}
