//! Counts datagrams at the lowest possible cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::net::socket::{FarmSocket, Traffic};

/// A socket and its thread.
pub struct Receiver {
    socket: FarmSocket,
    port: u16,
}

/// Datagrams that arrived at the receiver.
#[derive(Debug, Default, Clone, Copy)]
pub struct Delivered {
    /// Number of datagrams that arrived.
    pub datagrams: u64,
    /// UDP payload of them.
    pub bytes: u64,
}

/// Time to wait at the end for datagrams on the network.
const DRAIN: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(5);

impl Receiver {
    /// Listens on a free port of all addresses.
    pub fn bind() -> anyhow::Result<Self> {
        let socket = FarmSocket::bind(0, Traffic::Media)?;
        let port = socket.port()?;
        Ok(Self { socket, port })
    }

    /// UDP port of the receiver.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Counts datagrams while `send` runs.
    pub fn count_while<T>(
        &mut self,
        send: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<(T, Delivered)>
    where
        T: Send,
    {
        let socket = &mut self.socket;
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        std::thread::scope(|scope| {
            let counter = scope.spawn(move || count(socket, &seen));
            let sent = send();
            done.store(true, Ordering::Release);
            let delivered = counter.join().expect("counting does not panic")?;
            Ok((sent?, delivered))
        })
    }
}

fn count(socket: &mut FarmSocket, done: &AtomicBool) -> std::io::Result<Delivered> {
    let mut delivered = Delivered::default();
    let mut quiet = Duration::ZERO;
    loop {
        let bursts = socket.receive(|burst| {
            for datagram in burst.datagrams() {
                delivered.datagrams += 1;
                delivered.bytes += datagram.len() as u64;
            }
        })?;
        if bursts > 0 {
            quiet = Duration::ZERO;
            continue;
        }
        if done.load(Ordering::Acquire) {
            if quiet >= DRAIN {
                return Ok(delivered);
            }
            quiet += POLL;
        }
        socket.readable(POLL)?;
    }
}
