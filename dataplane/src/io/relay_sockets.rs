//! Sockets of relayed addresses with peers outside of this process: opened when a client permits such a peer, closed
//! with the client's allocation.
//!
//! Datagrams of clients are gathered into runs of one size to one peer (UDP_SEGMENT), and sent at the latest by
//! [`RelaySockets::flush`]. Datagrams of peers arrive joined (UDP_GRO). So the network stack is passed once per frame,
//! not once per packet.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::sys;
use super::sys::{Message, ReceiveBatch, SendBatch};
use crate::limits::{
    MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, RECEIVES_PER_RELAY_SOCKET, RELAY_SOCKET_RECEIVE_BYTES,
    RELAY_SOCKETS_PER_TURN,
};

/// Sockets of relayed addresses, by address.
pub struct RelaySockets {
    epoll: OwnedFd,
    sockets: Slab<RelaySocket>,
    by_addr: HashMap<SocketAddr, usize>,
    incoming: ReceiveBatch,
    outgoing: SendBatch,
    /// Indices of sockets with a run that waits to be sent.
    waiting: Vec<usize>,
    /// Empty buffers, kept for later runs.
    spare: Vec<Vec<u8>>,
    /// Datagrams that the kernel refused since the last [`RelaySockets::flush`].
    refused: usize,
}

struct RelaySocket {
    relayed: SocketAddr,
    socket: UdpSocket,
    run: Option<Gathered>,
    /// True if the device or path refused a run before.
    without_runs: bool,
}

/// A run that is being gathered: datagrams to one peer, of equal size; the last may be shorter.
struct Gathered {
    peer: SocketAddr,
    segment_bytes: usize,
    bytes: Vec<u8>,
}

/// Maximum number of empty buffers kept.
const MAX_SPARE: usize = 32;

impl RelaySockets {
    /// A set without sockets; fails if epoll is not available.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sockets: Slab::new(),
            by_addr: HashMap::new(),
            incoming: ReceiveBatch::new(RECEIVES_PER_RELAY_SOCKET, RELAY_SOCKET_RECEIVE_BYTES),
            outgoing: SendBatch::new(1),
            waiting: Vec::new(),
            spare: Vec::new(),
            refused: 0,
        })
    }

    /// Opens a socket for `relayed`. This is the address that peers see; behind a NAT the host has another one.
    pub fn open(&mut self, relayed: SocketAddr) -> io::Result<()> {
        self.index_of(relayed).map(drop)
    }

    /// Closes the socket of `relayed`, if there is one.
    pub fn close(&mut self, relayed: SocketAddr) {
        if let Some(index) = self.by_addr.remove(&relayed) {
            self.send_run(index);
            self.waiting.retain(|waiting| *waiting != index);
            self.sockets.remove(index); // closing removes the socket from the epoll set
        }
    }

    /// Queues a datagram from `relayed` to `peer`; opens a socket if needed. Sent at the latest by
    /// [`RelaySockets::flush`].
    pub fn send(&mut self, relayed: SocketAddr, peer: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let index = self.index_of(relayed)?;
        let run = &mut self.sockets[index].run;
        match run {
            Some(run) if run.takes(peer, bytes.len()) => {
                run.bytes.extend_from_slice(bytes);
                return Ok(());
            }
            Some(_) => self.send_run(index),
            None => self.waiting.push(index),
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        self.sockets[index].run = Some(Gathered {
            peer,
            segment_bytes: bytes.len(),
            bytes: buffer,
        });
        Ok(())
    }

    /// Sends all queued datagrams. Returns the number of datagrams that the kernel refused since the last call.
    pub fn flush(&mut self) -> usize {
        let mut waiting = std::mem::take(&mut self.waiting);
        for index in waiting.drain(..) {
            self.send_run(index);
        }
        self.waiting = waiting;
        std::mem::take(&mut self.refused)
    }

    /// Receives a bounded number of datagrams; calls `sink` with relayed address, peer and datagram. True when more may
    /// wait.
    pub fn receive(&mut self, mut sink: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> bool {
        if self.sockets.is_empty() {
            return false;
        }
        let mut events = [MaybeUninit::uninit(); RELAY_SOCKETS_PER_TURN];
        let at_once = Timespec::default();
        let Ok((ready, _)) = epoll::wait(&self.epoll, &mut events, Some(&at_once)) else {
            return false; // interrupted: the next turn tries again
        };
        let mut more = ready.len() == RELAY_SOCKETS_PER_TURN;
        for event in ready.iter() {
            let index = usize::try_from(event.data.u64()).expect("it was a usize");
            let Some(RelaySocket {
                relayed, socket, ..
            }) = self.sockets.get(index)
            else {
                continue;
            };
            // The error belongs to an earlier datagram (ECONNREFUSED), not to others.
            let Ok(taken) = self.incoming.receive(socket.as_fd()) else {
                more = true;
                continue;
            };
            for index in 0..taken {
                let Some(joined) = self.incoming.get(index) else {
                    continue;
                };
                if joined.bytes.is_empty() {
                    sink(*relayed, joined.source, &[]); // an empty datagram counts as one
                }
                for datagram in joined.bytes.chunks(joined.segment_bytes.max(1)) {
                    sink(*relayed, joined.source, datagram);
                }
            }
            more |= taken == RECEIVES_PER_RELAY_SOCKET;
        }
        more
    }

    fn index_of(&mut self, relayed: SocketAddr) -> io::Result<usize> {
        if let Some(index) = self.by_addr.get(&relayed) {
            return Ok(*index);
        }
        let any: IpAddr = match relayed {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, relayed.port()))?;
        socket.set_nonblocking(true)?;
        // Kernels before 5.0 do not join datagrams.
        if let Err(error) = sys::enable_receive_offload(socket.as_fd()) {
            tracing::debug!(%error, "datagrams of peers do not come joined");
        }
        let entry = self.sockets.vacant_entry();
        let index = entry.key();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        self.by_addr.insert(relayed, index);
        entry.insert(RelaySocket {
            relayed,
            socket,
            run: None,
            without_runs: false,
        });
        Ok(index)
    }

    /// Sends the gathered run of socket `index`, if any.
    fn send_run(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let Some(mut run) = socket.run.take() else {
            return;
        };
        self.refused += run.leave(socket, &mut self.outgoing);
        run.bytes.clear();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(run.bytes);
        }
    }
}

impl Gathered {
    /// True when a datagram of `bytes` bytes to `peer` can be appended to the run.
    fn takes(&self, peer: SocketAddr, bytes: usize) -> bool {
        self.peer == peer
            && (1..=self.segment_bytes).contains(&bytes)
            && self.bytes.len().is_multiple_of(self.segment_bytes)
            && self.bytes.len() + bytes <= MAX_RUN_BYTES
            && self.datagrams() < MAX_RUN_DATAGRAMS
    }

    fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.segment_bytes.max(1)).max(1)
    }

    /// Sends the run. Returns the number of its datagrams that the kernel refused.
    fn leave(&self, socket: &mut RelaySocket, batch: &mut SendBatch) -> usize {
        if socket.without_runs && self.datagrams() > 1 {
            return self.send_apart(socket, batch);
        }
        // The first error may belong to an earlier datagram (ECONNREFUSED), the second is our own.
        let sent = self.send(socket, batch);
        let Err(error) = sent.or_else(|_| self.send(socket, batch)) else {
            return 0;
        };
        if self.datagrams() > 1 && sys::refuses_runs(&error) {
            socket.without_runs = true;
            return self.send_apart(socket, batch);
        }
        tracing::trace!(%error, relayed = %socket.relayed, peer = %self.peer, "relay");
        self.datagrams()
    }

    fn send(&self, socket: &RelaySocket, batch: &mut SendBatch) -> io::Result<()> {
        let segment = u16::try_from(self.segment_bytes).ok();
        let message = Message {
            bytes: &self.bytes,
            destination: self.peer,
            source: None,
            segment_bytes: segment.filter(|_| self.datagrams() > 1),
            frame: None,
        };
        batch
            .send(socket.socket.as_fd(), [message].into_iter())
            .map(drop)
    }

    /// Sends each datagram as a message of its own. Returns how many the kernel refused.
    fn send_apart(&self, socket: &RelaySocket, batch: &mut SendBatch) -> usize {
        let mut refused = 0;
        for start in (0..self.bytes.len().max(1)).step_by(self.segment_bytes.max(1)) {
            let end = (start + self.segment_bytes).min(self.bytes.len());
            let message = Message {
                bytes: &self.bytes[start..end],
                destination: self.peer,
                source: None,
                segment_bytes: None,
                frame: None,
            };
            if let Err(error) = batch.send(socket.socket.as_fd(), [message].into_iter()) {
                tracing::trace!(%error, relayed = %socket.relayed, peer = %self.peer, "relay");
                refused += 1;
            }
        }
        refused
    }
}

impl AsFd for RelaySockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_addr() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    }

    #[test]
    fn a_relayed_address_is_its_clients_until_it_is_closed() {
        let mut reach = RelaySockets::new().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer_addr = peer.local_addr().unwrap();
        let free = free_addr();
        reach.open(free).unwrap();
        reach.open(free).unwrap();
        reach.send(free, peer_addr, b"out").unwrap();
        assert_eq!(reach.flush(), 0);
        let mut buffer = [0; 9];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"out"[..], free));
        for number in 0..40_u8 {
            peer.send_to(&[number], free).unwrap();
        }
        let mut got = Vec::new();
        let mut take = |reach: &mut RelaySockets| {
            reach.receive(|relayed, from, bytes| {
                assert_eq!((relayed, from), (free, peer_addr));
                got.extend_from_slice(bytes);
            })
        };
        while take(&mut reach) {}
        assert!(got.is_sorted() && got.len() == 40, "{got:?}");
        reach.close(free);
        UdpSocket::bind(free).unwrap();
    }

    #[test]
    fn what_goes_out_in_runs_arrives_as_it_was_sent() {
        let mut reach = RelaySockets::new().unwrap();
        let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [first, second] = [0, 1].map(|index| peers[index].local_addr().unwrap());
        let free = free_addr();
        let sent: Vec<(SocketAddr, Vec<u8>)> = [
            (first, 5),
            (first, 5),
            (first, 3),
            (first, 5),
            (first, 0),
            (first, 6),
            (second, 6),
            (first, 6),
            (first, 1_000),
            (first, 1_000),
            (first, 1_001),
            (second, 0),
            (second, 2),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (peer, bytes))| (peer, vec![number as u8; bytes]))
        .collect();
        for (peer, bytes) in &sent {
            reach.send(free, *peer, bytes).unwrap();
        }
        assert_eq!(reach.flush(), 0);
        assert_eq!(reach.flush(), 0, "nothing is left");
        let mut buffer = [0; 2_000];
        for (socket, addr) in peers.iter().zip([first, second]) {
            for (_, bytes) in sent.iter().filter(|(peer, _)| *peer == addr) {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], from.port()), (&bytes[..], free.port()));
            }
        }
    }

    #[test]
    fn a_datagram_too_long_for_its_path_is_counted_and_harms_no_other() {
        let mut reach = RelaySockets::new().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer_addr = peer.local_addr().unwrap();
        let free = free_addr();
        reach.send(free, peer_addr, b"before").unwrap();
        reach.send(free, peer_addr, &[0; 65_530]).unwrap();
        reach.send(free, peer_addr, b"after").unwrap();
        assert_eq!(reach.flush(), 1);
        let mut buffer = [0; 9];
        for expected in [&b"before"[..], b"after"] {
            let (length, _) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }
}
