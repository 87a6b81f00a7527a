//! One UDP socket that sends and receives as thousands of IPv4 addresses.
//!
//! The kernel delivers all addresses of a local route to the socket; the destination of a datagram identifies the
//! participant. Receives batches of joined datagrams (UDP_GRO), with the kernel's receive time of each. Not for IPv6.
//!
//! If the interfaces of the host are set up for polling (napi_defer_hard_irqs), it polls (SO_BUSY_POLL) and never
//! sleeps, so that senders need no interrupt to wake it. The kernel then delays single datagrams to join others to
//! them, which is for media and not for [`Traffic::Messages`].

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recv,
    recvmmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::{setsockopt_impl, sockopt_impl};

/// Bytes of one receive: the kernel joins no more.
const MESSAGE_BYTES: usize = 64 << 10;
/// Receives of one system call.
const MESSAGES: usize = 32;
/// Requested buffer size in each direction; the kernel may grant less.
const SOCKET_BUFFER_BYTES: usize = 64 << 20;

/// Maximum number of frames per poll of an interface.
const POLL_FRAMES: i32 = 64;
/// Time that the kernel may poll in a blocking call; ours do not block, and any value above 0 enables polling.
const POLL_MICROSECONDS: i32 = 50;

sockopt_impl!(
    /// Socket option SO_BUSY_POLL: microseconds of polling.
    BusyPoll, SetOnly, libc::SOL_SOCKET, libc::SO_BUSY_POLL, i32
);
sockopt_impl!(
    /// SO_PREFER_BUSY_POLL: no interrupts while the interface is polled often enough.
    PreferBusyPoll, SetOnly, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, bool
);
sockopt_impl!(
    /// Socket option SO_BUSY_POLL_BUDGET: packets per poll.
    BusyPollBudget, SetOnly, libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, i32
);

/// Traffic of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Runs of datagrams to each receiver.
    Media,
    /// Small datagrams that are answered individually.
    Messages,
}

/// The socket and its buffers.
pub struct FarmSocket {
    socket: UdpSocket,
    buffers: Box<[u8]>,
    overflowed: u32,
    polls: bool,
}

/// Joined datagrams of one sender to one receiver: each has `segment` bytes, the last may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Burst<'a> {
    /// Source address of the datagrams.
    pub source: SocketAddrV4,
    /// Destination address of the datagram.
    pub destination: Ipv4Addr,
    /// Time of the kernel's receipt, since the Unix epoch.
    pub at: Duration,
    segment: usize,
    bytes: &'a [u8],
}

impl FarmSocket {
    /// Binds to `port` of every address; with 0 the kernel chooses a port.
    pub fn bind(port: u16, traffic: Traffic) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        let polls = interfaces_are_polled();
        if polls {
            setsockopt(&socket, BusyPoll, &POLL_MICROSECONDS)?;
            setsockopt(&socket, PreferBusyPoll, &true)?;
            setsockopt(&socket, BusyPollBudget, &POLL_FRAMES)?;
        }
        if !polls || traffic == Traffic::Media {
            setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        grow_buffers(&socket)?;
        let buffers = vec![0; MESSAGES * MESSAGE_BYTES].into_boxed_slice();
        Ok(Self {
            socket,
            buffers,
            overflowed: 0,
            polls,
        })
    }

    /// The port of all addresses.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Number of datagrams dropped by the kernel since the start, because our receive buffer was full.
    pub fn overflowed(&self) -> u32 {
        self.overflowed
    }

    /// Receives one batch; returns the number of bursts.
    pub fn receive(&mut self, mut each: impl FnMut(Burst<'_>)) -> io::Result<usize> {
        let chunks = self.buffers.chunks_mut(MESSAGE_BYTES);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            chunks.map(|chunk| [IoSliceMut::new(chunk)]).collect();
        // Made again for each call: the kernel shortens the control buffer to the used length.
        let space = cmsg_space!(libc::in_pktinfo, libc::timespec, i32, u32);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(MESSAGES, Some(space));
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = match recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            // An ICMP error of an earlier datagram; reading cleared it.
            Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in received {
            count += 1;
            if let Some(burst) = read(&message, &mut self.overflowed) {
                each(burst);
            }
        }
        Ok(count)
    }

    /// Sends `datagram` from our address `source`. Waits while the send buffer is full. After any other error the
    /// datagram is lost.
    pub fn send(
        &self,
        source: Ipv4Addr,
        destination: SocketAddrV4,
        datagram: &[u8],
    ) -> io::Result<()> {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(source.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let (control, data) = (
            [ControlMessage::Ipv4PacketInfo(&info)],
            [IoSlice::new(datagram)],
        );
        let (fd, to) = (self.socket.as_raw_fd(), SockaddrIn::from(destination));
        loop {
            match sendmsg(fd, &data, &control, MsgFlags::empty(), Some(&to)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, Duration::from_millis(10))?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there is something to receive, at most for `time`.
    pub fn readable(&self, time: Duration) -> io::Result<()> {
        if !self.polls {
            return self.wait(PollFlags::POLLIN, time);
        }
        let until = Instant::now() + time;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        while Instant::now() < until {
            // The peek polls the interface; errors are reported by the receive.
            match recv(self.socket.as_raw_fd(), &mut [0], flags) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, time: Duration) -> io::Result<()> {
        let mut polled = [PollFd::new(self.socket.as_fd(), what)];
        match ppoll(&mut polled, Some(TimeSpec::from_duration(time)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<'a> Burst<'a> {
    /// Each datagram of the burst.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment)
    }
}

fn read<'a>(message: &RecvMsg<'_, 'a, SockaddrIn>, overflowed: &mut u32) -> Option<Burst<'a>> {
    let bytes = message.iovs().next()?;
    let (mut segment, mut destination, mut at) = (bytes.len(), None, Duration::ZERO);
    for control in message.cmsgs().ok()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                destination = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
            }
            ControlMessageOwned::UdpGroSegments(size) => segment = usize::try_from(size).ok()?,
            ControlMessageOwned::ScmTimestampns(time) => at = Duration::from(time),
            ControlMessageOwned::RxqOvfl(count) => *overflowed = count,
            _ => {} // no other control messages are enabled
        }
    }
    Some(Burst {
        source: message.address.map(SocketAddrV4::from)?,
        destination: destination?,
        at,
        segment: segment.max(1),
        bytes,
    })
}

/// True when an interface of this host is set up for polling.
fn interfaces_are_polled() -> bool {
    let interfaces = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut deferred = interfaces.filter_map(|interface| {
        fs::read_to_string(interface.path().join("napi_defer_hard_irqs")).ok()
    });
    deferred.any(|count| count.trim().parse::<u32>().is_ok_and(|count| count > 0))
}

/// Raises the buffer sizes; root may exceed the host's limits.
pub(crate) fn grow_buffers(socket: &UdpSocket) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        setsockopt(socket, sockopt::SndBuf, &SOCKET_BUFFER_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_is_many_addresses() {
        let mut a = FarmSocket::bind(0, Traffic::Messages).unwrap();
        let b = FarmSocket::bind(0, Traffic::Messages).unwrap();
        let port = a.port().unwrap();
        for (from, to) in [
            ([127, 1, 2, 3], [127, 4, 5, 6]),
            ([127, 9, 9, 9], [127, 0, 0, 8]),
        ] {
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
            b.send(from, SocketAddrV4::new(to, port), b"hello").unwrap();
            a.readable(Duration::from_secs(2)).unwrap();
            let mut seen = Vec::new();
            a.receive(|burst| {
                let data: Vec<_> = burst.datagrams().map(<[u8]>::to_vec).collect();
                seen.push((*burst.source.ip(), burst.destination, data, burst.at));
            })
            .unwrap();
            let [(source, destination, data, at)] = &seen[..] else {
                panic!("{seen:?}")
            };
            assert_eq!((*source, *destination), (from, to));
            assert_eq!(data, &[b"hello".to_vec()]);
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            assert!(now.abs_diff(*at) < Duration::from_secs(5));
        }
        assert_eq!(a.receive(|_| panic!("nothing is left")).unwrap(), 0);
    }
}
