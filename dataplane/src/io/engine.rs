//! How datagrams cross the kernel's boundary: two engines behind one seam, chosen with `--io`.
//!
//! Sockets are named by their place in [`ShardSockets::iter`]. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use super::sys::{Message, ReceiveBatch, Received, SendBatch, Uring, UringError, UringSizes};
use super::udp::ShardSockets;
use crate::limits::{MAX_MESSAGE_BYTES, RECEIVE_BATCH, SEND_BATCH};

/// Which system calls move datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// `recvmmsg` and `sendmmsg`.
    Mmsg,
    /// A ring of the shard's own, with receives that stay armed.
    Uring,
}

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// This one, or an error.
    Only(EngineKind),
    /// io_uring where the kernel has what it takes, else the other.
    Auto,
}

/// The engine of one shard, made on its thread.
pub enum Engine {
    /// See [`EngineKind::Mmsg`].
    Mmsg(Box<Mmsg>),
    /// See [`EngineKind::Uring`].
    Uring(Box<Uring>),
}

/// The batches of all sockets.
pub struct Mmsg {
    sockets: Vec<OwnedFd>,
    batches: Vec<ReceiveBatch>,
    /// What each batch brought last.
    counts: Vec<usize>,
    send: SendBatch,
    /// What became of the messages tried last: so many were sent, the one after them failed.
    sent: usize,
    error: Option<i32>,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ring.
    #[error(transparent)]
    Ring(#[from] UringError),
    /// The ring works, but completions would interrupt the shard.
    #[error("io_uring of this kernel has no deferred task work (needs linux 6.1)")]
    NotDeferred,
    /// A descriptor.
    #[error("cannot duplicate a socket: {0}")]
    Socket(#[from] io::Error),
}

/// Of a ring: all messages of a batch are looked at before their buffers are given back.
const SIZES: UringSizes = UringSizes {
    messages: SEND_BATCH as u16,
    buffers: (2 * RECEIVE_BATCH) as u16,
    payload_bytes: MAX_MESSAGE_BYTES,
};

impl EngineChoice {
    /// The engine this kernel can run; what stands against the other one, where that was preferred.
    pub fn probe(self) -> Result<(EngineKind, Option<EngineError>), EngineError> {
        match self {
            EngineChoice::Only(EngineKind::Mmsg) => Ok((EngineKind::Mmsg, None)),
            EngineChoice::Only(EngineKind::Uring) => {
                ring(&[])?;
                Ok((EngineKind::Uring, None))
            }
            EngineChoice::Auto => Ok(match ring(&[]) {
                Ok(_) => (EngineKind::Uring, None),
                Err(refused) => (EngineKind::Mmsg, Some(refused)),
            }),
        }
    }
}

impl Engine {
    /// Starts on `sockets`. Has to be called on the thread that uses it.
    pub fn start(kind: EngineKind, sockets: &ShardSockets) -> Result<Self, EngineError> {
        Ok(match kind {
            EngineKind::Mmsg => Self::Mmsg(Box::new(Mmsg::new(sockets)?)),
            EngineKind::Uring => {
                let sockets: Vec<_> = sockets.iter().collect();
                Self::Uring(Box::new(ring(&sockets)?))
            }
        })
    }

    /// Takes what is there, from all sockets; the number of messages, and whether more may wait.
    pub fn receive(&mut self) -> io::Result<(usize, bool)> {
        match self {
            Engine::Mmsg(mmsg) => mmsg.receive(),
            Engine::Uring(uring) => {
                let count = uring.receive()?;
                Ok((count, count > 0))
            }
        }
    }

    /// True when something has arrived that no socket will be readable for: do not sleep before the next
    /// [`receive`](Self::receive).
    pub fn has_fetched(&self) -> bool {
        match self {
            Engine::Mmsg(_) => false,
            Engine::Uring(uring) => uring.has_fetched(),
        }
    }

    /// Message `index` of the last [`receive`](Self::receive), and its socket; `None` when its sender
    /// has no IP address.
    pub fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        match self {
            Engine::Mmsg(mmsg) => mmsg.get(index),
            Engine::Uring(uring) => uring.get(index),
        }
    }

    /// Tries to send the first of `messages`; how many were tried, at least one.
    pub fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        match self {
            Engine::Mmsg(mmsg) => Ok(mmsg.send(socket, messages)),
            Engine::Uring(uring) => uring.send(socket, messages),
        }
    }

    /// What became of message `index` of the last [`send`](Self::send).
    pub fn result(&self, index: usize) -> io::Result<()> {
        match self {
            Engine::Mmsg(mmsg) => match mmsg.error {
                Some(error) if index == mmsg.sent => Err(io::Error::from_raw_os_error(error)),
                Some(_) | None => Ok(()),
            },
            Engine::Uring(uring) => uring.result(index).map(drop),
        }
    }
}

impl Mmsg {
    fn new(sockets: &ShardSockets) -> io::Result<Self> {
        let sockets: Vec<OwnedFd> = sockets
            .iter()
            .map(|socket| socket.try_clone_to_owned())
            .collect::<io::Result<_>>()?;
        let batch = |_: &OwnedFd| ReceiveBatch::new(RECEIVE_BATCH, MAX_MESSAGE_BYTES);
        Ok(Self {
            batches: sockets.iter().map(batch).collect(),
            counts: vec![0; sockets.len()],
            sockets,
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

    fn send<'a>(&mut self, socket: usize, messages: impl Iterator<Item = Message<'a>>) -> usize {
        match self.send.send(self.sockets[socket].as_fd(), messages) {
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

fn ring(sockets: &[std::os::fd::BorrowedFd<'_>]) -> Result<Uring, EngineError> {
    let probe = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let own = [probe.as_fd()];
    let ring = Uring::new(if sockets.is_empty() { &own } else { sockets }, SIZES)?;
    if ring.has_deferred_work() {
        Ok(ring)
    } else {
        Err(EngineError::NotDeferred)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::io::udp;

    fn engines() -> impl Iterator<Item = (EngineKind, Engine, u16)> {
        [EngineKind::Mmsg, EngineKind::Uring]
            .into_iter()
            .map(|kind| {
                let (port, _, sockets) = udp::for_tests(1 << 20);
                (kind, Engine::start(kind, &sockets).unwrap(), port)
            })
    }

    fn received(engine: &mut Engine) -> Vec<(usize, Vec<u8>)> {
        let mut all = Vec::new();
        for _ in 0..50 {
            let (count, _) = engine.receive().unwrap();
            for index in 0..count {
                let (socket, received) = engine.get(index).unwrap();
                all.push((socket, received.bytes.to_vec()));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        all
    }

    #[test]
    fn both_engines_take_from_both_sockets_and_say_from_which() {
        for (kind, mut engine, port) in engines() {
            let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert!(received(&mut engine).is_empty());
            v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
            let mut expected = vec![(0, b"four".to_vec())];
            if let Ok(v6) = UdpSocket::bind("[::1]:0") {
                v6.send_to(b"six", ("::1", port)).unwrap();
                expected.push((1, b"six".to_vec()));
            }
            let mut got = received(&mut engine);
            got.sort();
            assert_eq!(got, expected, "{kind}");
        }
    }

    #[test]
    fn both_engines_say_which_message_failed_and_send_the_others() {
        for (kind, mut engine, _) in engines() {
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = receiver.local_addr().unwrap();
            let message = |bytes, destination| Message {
                bytes,
                destination,
                source: None,
                segment_bytes: None,
            };
            let nowhere = "[2001:db8::1]:9".parse().unwrap();
            let mut rest = vec![
                message(&b"a"[..], to),
                message(b"b", nowhere),
                message(b"c", to),
            ];
            let mut failed = 0;
            while !rest.is_empty() {
                let tried = engine.send(0, rest.iter().copied()).unwrap();
                failed += (0..tried)
                    .filter(|index| engine.result(*index).is_err())
                    .count();
                rest.drain(..tried);
            }
            assert_eq!(failed, 1, "{kind}");
            let mut buffer = [0; 4];
            for expected in [b"a", b"c"] {
                let length = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expected, "{kind}");
            }
        }
    }
}
