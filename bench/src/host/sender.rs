//! Methods of sending datagrams, each at its maximum rate.

use std::fmt;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, sendto};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::net::socket::grow_buffers;

/// A method of sending datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A system call for each datagram.
    Sendto,
    /// One system call for many datagrams.
    Sendmmsg,
    /// `sendmmsg` with messages of `segments` datagrams to one address (UDP_SEGMENT).
    Gso {
        /// Datagrams of a message.
        segments: u16,
    },
}

/// A sending method, with or without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// System call that sends the batch.
    pub method: Method,
    /// True if every datagram is encrypted with AES-128-GCM.
    pub encrypted: bool,
}

/// An order to send.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Order {
    /// Destination port of all addresses.
    pub port: u16,
    /// First of the destination addresses.
    pub first: Ipv4Addr,
    /// Number of consecutive addresses.
    pub addresses: u32,
    /// UDP payload of a datagram.
    pub bytes: u16,
    /// Duration of the sending in milliseconds.
    pub milliseconds: u64,
    /// Method and size of each batch.
    pub batch: Batch,
}

/// Datagrams sent, and the time it took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sent {
    /// Datagrams accepted by the kernel.
    pub datagrams: u64,
    /// Time of the sending in seconds.
    pub seconds: f64,
    /// CPU time of the sending in seconds.
    pub cpu_seconds: f64,
}

/// A mistake in an order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The datagram is too short, or would be fragmented.
    #[error("datagrams of {0} bytes are outside 64..=1472")]
    Bytes(u16),
    /// The number of addresses is invalid.
    #[error("addresses {0} are outside 1..=100000")]
    Addresses(u32),
    /// The duration is above the maximum.
    #[error("{0} ms are more than 60000")]
    Time(u64),
    /// The message has more segments or bytes than the kernel joins.
    #[error("{0} segments are outside 1..=64, or longer than 65507 bytes together")]
    Segments(u16),
}

/// Messages of one system call.
const MESSAGES: usize = 64;
const MAX_UDP_BYTES: usize = 65_507;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 12;

impl Order {
    /// Sends the datagrams of the order.
    pub fn carry_out(&self) -> anyhow::Result<Sent> {
        self.check()?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        grow_buffers(&socket)?;
        let mut sending = Sending::new(self, &socket)?;
        let (start, cpu) = (Instant::now(), thread_cpu()?);
        let until = start + Duration::from_millis(self.milliseconds);
        let mut datagrams = 0;
        while Instant::now() < until {
            datagrams += sending.batch()?;
        }
        Ok(Sent {
            datagrams,
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: (thread_cpu()? - cpu).as_secs_f64(),
        })
    }

    fn check(&self) -> Result<(), OrderError> {
        if !(64..=1_472).contains(&self.bytes) {
            return Err(OrderError::Bytes(self.bytes));
        }
        if !(1..=100_000).contains(&self.addresses) {
            return Err(OrderError::Addresses(self.addresses));
        }
        if self.milliseconds > 60_000 {
            return Err(OrderError::Time(self.milliseconds));
        }
        let segments = self.batch.method.segments();
        let fits = usize::from(segments) * usize::from(self.bytes) <= MAX_UDP_BYTES;
        match segments {
            1..=64 if fits => Ok(()),
            _ => Err(OrderError::Segments(segments)),
        }
    }
}

impl Method {
    fn segments(self) -> u16 {
        match self {
            Self::Sendto | Self::Sendmmsg => 1,
            Self::Gso { segments } => segments,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sendto => f.write_str("sendto"),
            Self::Sendmmsg => f.write_str("sendmmsg"),
            Self::Gso { segments } => write!(f, "gso-{segments}"),
        }
    }
}

struct Sending<'a> {
    order: &'a Order,
    socket: &'a UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    messages: Vec<Vec<u8>>,
    /// Every address, then the first ones again, so that each batch is a slice.
    to: Vec<Option<SockaddrIn>>,
    next: usize,
    key: Option<LessSafeKey>,
    nonce: u64,
}

impl<'a> Sending<'a> {
    fn new(order: &'a Order, socket: &'a UdpSocket) -> anyhow::Result<Self> {
        let message = usize::from(order.bytes) * usize::from(order.batch.method.segments());
        let space = matches!(order.batch.method, Method::Gso { .. }).then(|| cmsg_space!(u16));
        let first = u32::from(order.first);
        let address = |index: usize| {
            let offset = u32::try_from(index).expect("limited by `check`") % order.addresses;
            let ip = Ipv4Addr::from(first.wrapping_add(offset));
            Some(SockaddrIn::from(SocketAddrV4::new(ip, order.port)))
        };
        let key = order
            .batch
            .encrypted
            .then(|| UnboundKey::new(&AES_128_GCM, &[7; 16]));
        Ok(Self {
            order,
            socket,
            headers: MultiHeaders::preallocate(MESSAGES, space),
            messages: vec![vec![0x5a; message]; MESSAGES],
            to: (0..order.addresses as usize + MESSAGES)
                .map(address)
                .collect(),
            next: 0,
            key: key.transpose()?.map(LessSafeKey::new),
            nonce: 0,
        })
    }

    /// Sends a batch. Returns the number of datagrams accepted by the kernel.
    fn batch(&mut self) -> anyhow::Result<u64> {
        self.encrypt()?;
        let to = &self.to[self.next..self.next + MESSAGES];
        self.next = (self.next + MESSAGES) % self.order.addresses as usize;
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let segment = self.order.bytes;
        let taken = match self.order.batch.method {
            Method::Sendto => {
                for (message, to) in self.messages.iter().zip(to.iter().flatten()) {
                    ignore_refused(sendto(fd, message, to, flags))?;
                }
                Ok(MESSAGES)
            }
            Method::Sendmmsg | Method::Gso { .. } => {
                let control = match self.order.batch.method {
                    Method::Gso { .. } => vec![ControlMessage::UdpGsoSegments(&segment)],
                    Method::Sendto | Method::Sendmmsg => vec![],
                };
                let slices: Vec<_> = self
                    .messages
                    .iter()
                    .map(|message| [IoSlice::new(message)])
                    .collect();
                sendmmsg(fd, &mut self.headers, &slices, to, control, flags).map(Iterator::count)
            }
        };
        let taken = ignore_refused(taken)?.unwrap_or(0) as u64;
        Ok(taken * u64::from(self.order.batch.method.segments()))
    }

    fn encrypt(&mut self) -> anyhow::Result<()> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let datagrams = self
            .messages
            .iter_mut()
            .flat_map(|m| m.chunks_mut(usize::from(self.order.bytes)));
        for datagram in datagrams {
            self.nonce += 1;
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&self.nonce.to_be_bytes());
            let (header, rest) = datagram.split_at_mut(HEADER_BYTES);
            let (payload, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let made = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)?;
            tag.copy_from_slice(made.as_ref());
        }
        Ok(())
    }
}

/// True for the ICMP error of a closed port, which is reported by the next send.
fn ignore_refused<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ECONNREFUSED | Errno::EINTR | Errno::ENOBUFS) => Ok(None),
        Err(error) => Err(error),
    }
}

fn thread_cpu() -> nix::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order {
        port: 9,
        first: Ipv4Addr::LOCALHOST,
        addresses: 3,
        bytes: 200,
        milliseconds: 20,
        batch: Batch {
            method: Method::Sendmmsg,
            encrypted: true,
        },
    };

    #[test]
    fn every_method_delivers() {
        for method in [
            Method::Sendto,
            Method::Sendmmsg,
            Method::Gso { segments: 4 },
        ] {
            let batch = Batch {
                method,
                encrypted: true,
            };
            let mut receiver = crate::ceiling::receiver::Receiver::bind().unwrap();
            let port = receiver.port();
            let order = Order {
                port,
                batch,
                ..ORDER
            };
            let (sent, delivered) = receiver.count_while(|| order.carry_out()).unwrap();
            assert!(sent.datagrams > 0 && delivered.datagrams > 0, "{method}");
            assert!(delivered.datagrams <= sent.datagrams, "{method}");
            assert_eq!(delivered.bytes, delivered.datagrams * 200, "{method}");
        }
    }

    #[test]
    fn orders_out_of_bounds_are_refused() {
        let segments = |segments| Batch {
            method: Method::Gso { segments },
            encrypted: false,
        };
        for (order, error) in [
            (
                Order {
                    bytes: 9_000,
                    ..ORDER
                },
                OrderError::Bytes(9_000),
            ),
            (
                Order {
                    addresses: 0,
                    ..ORDER
                },
                OrderError::Addresses(0),
            ),
            (
                Order {
                    milliseconds: 60_001,
                    ..ORDER
                },
                OrderError::Time(60_001),
            ),
            (
                Order {
                    batch: segments(65),
                    ..ORDER
                },
                OrderError::Segments(65),
            ),
            (
                Order {
                    batch: segments(60),
                    bytes: 1_400,
                    ..ORDER
                },
                OrderError::Segments(60),
            ),
        ] {
            assert_eq!(order.check().unwrap_err(), error);
        }
    }
}
