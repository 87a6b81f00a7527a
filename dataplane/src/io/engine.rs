//! Interface of the two I/O engines (`recvmmsg`/`sendmmsg` and io_uring), chosen with `--io`. The simulator has a third.
//!
//! Sockets are named by their index in [`ShardSockets::iter`]. No call waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::time::Instant;

use super::clock;
use super::egress::{Egress, EgressError, EgressStart};
use super::simulated::Simulated;
use super::sys::{Message, ReceiveBatch, Received, SendBatch, Uring, UringError, UringSizes};
use super::udp::ShardSockets;
use crate::limits::{MAX_MESSAGE_BYTES, RECEIVE_BATCH, SEND_BATCH};

/// System calls for datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// System calls `recvmmsg` and `sendmmsg`.
    Mmsg,
    /// An io_uring of the shard, with multishot receives.
    Uring,
}

/// Value of the setting `io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// This engine, or an error.
    Only(EngineKind),
    /// io_uring if the kernel supports it, otherwise `recvmmsg` and `sendmmsg`.
    Auto,
}

/// Parts from which each shard makes its [`Engine`].
#[derive(Clone)]
pub struct EngineStart {
    /// System calls that receive and send datagrams.
    pub kind: EngineKind,
    /// For sending Ethernet frames; `None` if this is off.
    pub egress: Option<EgressStart>,
}

/// Receives and sends the datagrams of one shard. Must be made on the shard's thread.
pub struct Engine {
    calls: Calls,
    /// For sending Ethernet frames, if enabled.
    egress: Option<Box<Egress>>,
    sent_at: Instant,
}

enum Calls {
    Mmsg(Box<Mmsg>),
    Uring(Box<Uring>),
    Simulated(Box<Simulated>),
}

/// State of `recvmmsg` and `sendmmsg`.
struct Mmsg {
    sockets: Vec<OwnedFd>,
    packet: Option<OwnedFd>,
    batches: Vec<ReceiveBatch>,
    /// Number of messages received from each socket in the last call.
    counts: Vec<usize>,
    send: SendBatch,
    /// Number of the last messages that were sent; the next one failed.
    sent: usize,
    error: Option<i32>,
}

/// Reason why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The io_uring cannot be set up.
    #[error(transparent)]
    Ring(#[from] UringError),
    /// The kernel's io_uring would interrupt the shard for completions.
    #[error("io_uring of this kernel has no deferred task work (needs linux 6.1)")]
    NotDeferred,
    /// The descriptor of a socket cannot be duplicated.
    #[error("cannot duplicate a socket: {0}")]
    Socket(#[from] io::Error),
    /// The packet socket for frames cannot be set up.
    #[error(transparent)]
    Egress(#[from] EgressError),
}

/// Sizes of the ring: all messages of a batch are handled before their buffers are returned.
const SIZES: UringSizes = UringSizes {
    messages: SEND_BATCH as u16,
    buffers: (2 * RECEIVE_BATCH) as u16,
    payload_bytes: MAX_MESSAGE_BYTES,
};

impl EngineChoice {
    /// The engine that this kernel can run. Also returns why the preferred one cannot run, if the setting is `auto`.
    pub fn probe(self) -> Result<(EngineKind, Option<EngineError>), EngineError> {
        match self {
            EngineChoice::Only(EngineKind::Mmsg) => Ok((EngineKind::Mmsg, None)),
            EngineChoice::Only(EngineKind::Uring) => {
                ring(&[], None)?;
                Ok((EngineKind::Uring, None))
            }
            EngineChoice::Auto => Ok(match ring(&[], None) {
                Ok(_) => (EngineKind::Uring, None),
                Err(refused) => (EngineKind::Mmsg, Some(refused)),
            }),
        }
    }
}

impl Engine {
    /// Starts the engine on `sockets`. Must be called on the thread that uses it.
    pub fn start(start: &EngineStart, sockets: &ShardSockets) -> Result<Self, EngineError> {
        let egress = match &start.egress {
            Some(start) => Some(Box::new(start.egress(sockets.ports()?)?)),
            None => None,
        };
        let packet = egress.as_ref().map(|egress| egress.as_fd());
        let calls = match start.kind {
            EngineKind::Mmsg => Calls::Mmsg(Box::new(Mmsg::new(sockets, packet)?)),
            EngineKind::Uring => {
                let sockets: Vec<_> = sockets.iter().collect();
                Calls::Uring(Box::new(ring(&sockets, packet)?))
            }
        };
        Ok(Self {
            calls,
            egress,
            sent_at: clock::now(),
        })
    }

    /// An engine without a kernel, for the simulator.
    pub fn simulated(simulated: Simulated) -> Self {
        Self {
            sent_at: simulated.now(),
            calls: Calls::Simulated(Box::new(simulated)),
            egress: None,
        }
    }

    /// Buffers of an engine without a kernel; `None` for other engines.
    pub fn as_simulated(&mut self) -> Option<&mut Simulated> {
        match &mut self.calls {
            Calls::Simulated(simulated) => Some(simulated),
            Calls::Mmsg(_) | Calls::Uring(_) => None,
        }
    }

    /// Receives from all sockets. Returns the number of messages, and whether more may wait.
    pub fn receive(&mut self) -> io::Result<(usize, bool)> {
        match &mut self.calls {
            Calls::Mmsg(mmsg) => mmsg.receive(),
            Calls::Uring(uring) => {
                let count = uring.receive()?;
                Ok((count, count > 0))
            }
            Calls::Simulated(simulated) => Ok(simulated.receive()),
        }
    }

    /// True when messages were fetched for which no socket becomes readable. The shard must then call
    /// [`receive`](Self::receive) before it sleeps.
    pub fn has_fetched(&self) -> bool {
        match &self.calls {
            // A turn receives until its batch is not full, so nothing is left without more work.
            Calls::Mmsg(_) | Calls::Simulated(_) => false,
            Calls::Uring(uring) => uring.has_fetched(),
        }
    }

    /// Socket index and content of message `index` of the last [`receive`](Self::receive); `None` when its sender has
    /// no IP address.
    pub fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        match &self.calls {
            Calls::Mmsg(mmsg) => mmsg.get(index),
            Calls::Uring(uring) => uring.get(index),
            Calls::Simulated(simulated) => simulated.get(index),
        }
    }

    /// Tries to send the first of `messages`. Returns how many were tried, at least one.
    pub fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>> + Clone,
    ) -> io::Result<usize> {
        let tried = self.send_framed(socket, messages);
        self.sent_at = self.calls.now();
        tried
    }

    fn send_framed<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>> + Clone,
    ) -> io::Result<usize> {
        let Some(egress) = &mut self.egress else {
            return self.calls.send(socket, messages);
        };
        egress.begin();
        let framed = messages.clone().map(|message| Message {
            frame: egress.frame(socket, &message),
            ..message
        });
        let tried = self.calls.send(socket, framed)?;
        for (index, message) in messages.take(tried).enumerate() {
            if let Err(error) = self.calls.result(index) {
                egress.failed(index, message.segment_bytes.is_some(), &error);
            }
        }
        Ok(tried)
    }

    /// Time when the last [`send`](Self::send) ended.
    pub fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Result of message `index` of the last [`send`](Self::send).
    pub fn result(&self, index: usize) -> io::Result<()> {
        let result = self.calls.result(index);
        match self.is_framed(index) {
            true => result.map_err(Egress::translate),
            false => result,
        }
    }

    /// True when message `index` of the last [`send`](Self::send) was sent as an Ethernet frame.
    pub fn is_framed(&self, index: usize) -> bool {
        let egress = self.egress.as_ref();
        egress.is_some_and(|egress| egress.is_framed(index))
    }
}

impl Calls {
    fn now(&self) -> Instant {
        match self {
            Calls::Mmsg(_) | Calls::Uring(_) => clock::now(),
            Calls::Simulated(simulated) => simulated.now(),
        }
    }

    fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        match self {
            Calls::Mmsg(mmsg) => Ok(mmsg.send(socket, messages)),
            Calls::Uring(uring) => uring.send(socket, messages),
            Calls::Simulated(simulated) => Ok(simulated.send(socket, messages)),
        }
    }

    fn result(&self, index: usize) -> io::Result<()> {
        match self {
            Calls::Mmsg(mmsg) => match mmsg.error {
                Some(error) if index == mmsg.sent => Err(io::Error::from_raw_os_error(error)),
                Some(_) | None => Ok(()),
            },
            Calls::Uring(uring) => uring.result(index).map(drop),
            Calls::Simulated(simulated) => simulated.result(index),
        }
    }
}

impl Mmsg {
    fn new(sockets: &ShardSockets, packet: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let sockets: Vec<OwnedFd> = sockets
            .iter()
            .map(|socket| socket.try_clone_to_owned())
            .collect::<io::Result<_>>()?;
        let batch = |_: &OwnedFd| ReceiveBatch::new(RECEIVE_BATCH, MAX_MESSAGE_BYTES);
        Ok(Self {
            batches: sockets.iter().map(batch).collect(),
            counts: vec![0; sockets.len()],
            sockets,
            packet: packet
                .map(|socket| socket.try_clone_to_owned())
                .transpose()?,
            send: SendBatch::new(SEND_BATCH),
            sent: 0,
            error: None,
        })
    }

    fn receive(&mut self) -> io::Result<(usize, bool)> {
        let mut result = Ok(());
        for ((socket, batch), count) in self
            .sockets
            .iter()
            .zip(&mut self.batches)
            .zip(&mut self.counts)
        {
            *count = batch.receive(socket.as_fd()).unwrap_or_else(|error| {
                result = Err(error);
                0
            });
        }
        let total: usize = self.counts.iter().sum();
        match result {
            Err(error) if total == 0 => Err(error),
            Ok(()) | Err(_) => Ok((total, self.counts.contains(&RECEIVE_BATCH))),
        }
    }

    fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        let mut index = index;
        for (socket, (batch, count)) in self.batches.iter().zip(&self.counts).enumerate() {
            if index < *count {
                return Some((socket, batch.get(index)?));
            }
            index -= count;
        }
        None
    }

    /// One system call sends either frames or datagrams.
    fn send<'a>(&mut self, socket: usize, messages: impl Iterator<Item = Message<'a>>) -> usize {
        let mut messages = messages.peekable();
        let is_framed = messages.peek().is_some_and(|first| first.frame.is_some());
        let alike = messages.take_while(|message| message.frame.is_some() == is_framed);
        let packet = self.packet.as_ref().filter(|_| is_framed);
        let socket = packet.unwrap_or(&self.sockets[socket]);
        match self.send.send(socket.as_fd(), alike) {
            Ok(sent) => {
                (self.sent, self.error) = (sent, None);
                sent
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                (self.sent, self.error) = (0, Some(errno));
                1
            }
        }
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mmsg" => Ok(Self::Only(EngineKind::Mmsg)),
            "uring" => Ok(Self::Only(EngineKind::Uring)),
            "auto" => Ok(Self::Auto),
            _ => Err("is none of mmsg, uring and auto".into()),
        }
    }
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EngineKind::Mmsg => "mmsg",
            EngineKind::Uring => "uring",
        })
    }
}

fn ring(sockets: &[BorrowedFd<'_>], packet: Option<BorrowedFd<'_>>) -> Result<Uring, EngineError> {
    let probe = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let own = [probe.as_fd()];
    let sockets = if sockets.is_empty() { &own } else { sockets };
    let ring = Uring::new(sockets, packet, SIZES)?;
    if ring.has_deferred_work() {
        Ok(ring)
    } else {
        Err(EngineError::NotDeferred)
    }
}

#[cfg(test)]
mod tests;
