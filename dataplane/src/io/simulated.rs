//! The I/O engine of the simulator: datagrams are put into receive buffers, and sent messages are taken out. No kernel,
//! no clock: the simulator sets the time and the room of the send buffers.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::sys::{Message, Received};
use crate::limits::{MAX_MESSAGE_BYTES, RECEIVE_BATCH, SEND_BATCH};

/// Receive and send buffers of the sockets of one shard.
#[derive(Debug)]
pub struct Simulated {
    now: Instant,
    /// Datagrams that the shard has not received yet, oldest first.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Most bytes that may wait; further datagrams are dropped.
    receive_buffer_bytes: usize,
    /// Datagrams of the last receive.
    batch: Vec<Waiting>,
    /// Datagrams that found the receive buffer full, as counted by SO_RXQ_OVFL.
    overflows: u32,
    sent: Vec<SentMessage>,
    limits: SendLimits,
    /// Error of the first message of the last send.
    error: Option<i32>,
}

/// What the send buffers take.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// Bytes that still fit; `None`: everything fits.
    pub room_bytes: Option<usize>,
    /// True if the device refuses several datagrams in one message (UDP_SEGMENT).
    pub refuses_runs: bool,
}

/// A datagram on its way to the shard.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Index of the socket that it arrived at.
    pub socket: usize,
    /// Address of the sender.
    pub source: SocketAddr,
    /// Address that it was sent to.
    pub local: IpAddr,
    /// Payload of the datagram.
    pub bytes: Vec<u8>,
}

/// A message that the shard sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// Index of the socket that it was sent through.
    pub socket: usize,
    /// Address of the receiver.
    pub destination: SocketAddr,
    /// Local address to send from, if the shard chose one.
    pub source: Option<IpAddr>,
    /// Bytes of all datagrams, one after another.
    pub bytes: Vec<u8>,
    /// Bytes of each datagram but the last, which may be shorter; at least 1.
    pub segment_bytes: usize,
}

impl Simulated {
    /// Empty buffers. `receive_buffer_bytes` is the size of all receive buffers together.
    pub fn new(receive_buffer_bytes: usize, now: Instant) -> Self {
        Self {
            now,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            receive_buffer_bytes,
            batch: Vec::new(),
            overflows: 0,
            sent: Vec::new(),
            limits: SendLimits::default(),
            error: None,
        }
    }

    /// Sets the time at which messages are sent.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Sets what the send buffers take from now on.
    pub fn set_limits(&mut self, limits: SendLimits) {
        self.limits = limits;
    }

    /// Puts a datagram into the receive buffer. False if the buffer is full: then the datagram is lost, and counted as
    /// the kernel counts it.
    pub fn arrive(&mut self, datagram: Waiting) -> bool {
        let bytes = self.waiting_bytes + datagram.bytes.len();
        if bytes > self.receive_buffer_bytes {
            self.overflows = self.overflows.wrapping_add(1);
            return false;
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(datagram);
        true
    }

    /// True when a datagram waits for the shard.
    pub fn is_readable(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Number of datagrams that wait for the shard.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes everything that the shard sent since the last call, oldest first.
    pub fn take_sent(&mut self) -> Vec<SentMessage> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn receive(&mut self) -> (usize, bool) {
        let count = self.waiting.len().min(RECEIVE_BATCH);
        self.batch.clear();
        self.batch.extend(self.waiting.drain(..count));
        let bytes: usize = self.batch.iter().map(|one| one.bytes.len()).sum();
        self.waiting_bytes -= bytes;
        (count, count == RECEIVE_BATCH)
    }

    pub(super) fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        let datagram = self.batch.get(index)?;
        let length = datagram.bytes.len().min(MAX_MESSAGE_BYTES);
        let received = Received {
            bytes: &datagram.bytes[..length],
            segment_bytes: length,
            source: datagram.source,
            local: Some(datagram.local),
            truncated: length < datagram.bytes.len(),
            // The kernel reports the count with each datagram once it is not zero.
            queue_overflows: (self.overflows > 0).then_some(self.overflows),
        };
        Some((datagram.socket, received))
    }

    /// Sends the first of `messages`. Returns how many were tried: those that fit, or one that did not.
    pub(super) fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> usize {
        let mut taken = 0;
        self.error = None;
        for message in messages.take(SEND_BATCH) {
            if let Err(errno) = self.take(socket, &message) {
                if taken == 0 {
                    self.error = Some(errno);
                    return 1;
                }
                break;
            }
            taken += 1;
        }
        taken
    }

    pub(super) fn result(&self, index: usize) -> io::Result<()> {
        match self.error {
            Some(errno) if index == 0 => Err(io::Error::from_raw_os_error(errno)),
            Some(_) | None => Ok(()),
        }
    }

    fn take(&mut self, socket: usize, message: &Message<'_>) -> Result<(), i32> {
        let bytes = message.bytes.len();
        if self.limits.refuses_runs && message.segment_bytes.is_some() {
            return Err(libc::EIO);
        }
        if let Some(room) = &mut self.limits.room_bytes {
            *room = room.checked_sub(bytes).ok_or(libc::EAGAIN)?;
        }
        let segment = message.segment_bytes.map_or(bytes, usize::from);
        self.sent.push(SentMessage {
            socket,
            destination: message.destination,
            source: message.source,
            bytes: message.bytes.to_vec(),
            segment_bytes: segment.max(1),
        });
        Ok(())
    }
}

impl SentMessage {
    /// Each datagram of the message; an empty message is one empty datagram.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let count = self.bytes.len().div_ceil(self.segment_bytes).max(1);
        (0..count).map(|index| {
            let start = index * self.segment_bytes;
            &self.bytes[start..self.bytes.len().min(start + self.segment_bytes)]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn message(bytes: &[u8], segment_bytes: Option<u16>) -> Message<'_> {
        Message {
            bytes,
            destination: addr(9),
            source: None,
            segment_bytes,
            frame: None,
        }
    }

    #[test]
    fn a_full_receive_buffer_loses_and_counts() {
        let mut simulated = Simulated::new(100, Instant::now());
        let datagram = |bytes: usize| Waiting {
            socket: 1,
            source: addr(7),
            local: addr(0).ip(),
            bytes: vec![5; bytes],
        };
        assert!(simulated.arrive(datagram(60)));
        assert!(!simulated.arrive(datagram(60)));
        assert!(simulated.arrive(datagram(40)));
        assert_eq!(simulated.receive(), (2, false));
        let (socket, received) = simulated.get(1).unwrap();
        assert_eq!((socket, received.bytes.len()), (1, 40));
        assert_eq!(received.queue_overflows, Some(1));
        assert!(!simulated.is_readable());
        assert!(simulated.arrive(datagram(100)), "the buffer is empty again");
    }

    #[test]
    fn receives_are_batches() {
        let mut simulated = Simulated::new(1 << 20, Instant::now());
        for port in 0..RECEIVE_BATCH as u16 + 1 {
            simulated.arrive(Waiting {
                socket: 0,
                source: addr(port),
                local: addr(0).ip(),
                bytes: vec![1],
            });
        }
        assert_eq!(simulated.receive(), (RECEIVE_BATCH, true));
        assert_eq!(simulated.receive(), (1, false));
        let (_, received) = simulated.get(0).unwrap();
        assert_eq!(received.source.port(), RECEIVE_BATCH as u16);
        assert_eq!(simulated.receive(), (0, false));
        assert!(simulated.get(0).is_none());
    }

    #[test]
    fn a_full_send_buffer_takes_the_first_messages_and_names_the_error() {
        let mut simulated = Simulated::new(0, Instant::now());
        simulated.set_limits(SendLimits {
            room_bytes: Some(5),
            refuses_runs: false,
        });
        let messages = [message(b"aabbc", Some(2)), message(b"d", None)];
        assert_eq!(simulated.send(0, messages.into_iter()), 1);
        assert!(simulated.result(0).is_ok());
        assert_eq!(simulated.send(0, messages[1..].iter().copied()), 1);
        let error = simulated.result(0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let sent = simulated.take_sent();
        let datagrams: Vec<_> = sent[0].datagrams().collect();
        assert_eq!(datagrams, [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(sent.len(), 1);
    }

    #[test]
    fn a_device_may_refuse_runs() {
        let mut simulated = Simulated::new(0, Instant::now());
        simulated.set_limits(SendLimits {
            room_bytes: None,
            refuses_runs: true,
        });
        assert_eq!(
            simulated.send(0, [message(b"aabb", Some(2))].into_iter()),
            1
        );
        let error = simulated.result(0).unwrap_err();
        assert!(crate::io::sys::refuses_runs(&error));
        assert_eq!(simulated.send(0, [message(b"", None)].into_iter()), 1);
        assert!(simulated.result(0).is_ok());
        let sent = simulated.take_sent();
        assert_eq!(sent[0].datagrams().count(), 1);
    }
}
