//! Sends many messages with one system call. A message is a datagram, or several of one size to one destination that
//! the kernel or the device cuts apart (UDP_SEGMENT).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::headers::Headers;
use super::message::Message;

/// Headers for one `sendmmsg`, allocated once.
pub struct SendBatch {
    parts: Headers,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: only `send` uses the pointers in `headers` and `parts`, and writes them first. They point into boxes of this
// struct, which stay in place when the batch moves.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Headers for up to `messages` messages per call.
    pub fn new(messages: usize) -> Self {
        let header = libc::mmsghdr {
            msg_hdr: Headers::empty(),
            msg_len: 0,
        };
        Self {
            parts: Headers::new(messages),
            headers: vec![header; messages].into_boxed_slice(),
        }
    }

    /// Maximum number of messages per call.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Sends the first of `messages` without blocking. Returns the number of messages that the kernel accepted.
    ///
    /// An error belongs to the first message; then nothing was sent.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for message in messages.take(self.capacity()) {
            self.headers[count].msg_hdr = self.parts.describe(count, &message);
            count += 1;
        }
        // SAFETY: the first `count` headers point to memory of self and to payloads that are borrowed for `'a`, so all
        // of it is alive during the call. The kernel writes only `msg_len` of each header (sendmmsg(2)).
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                libc::c_uint::try_from(count).expect("a batch is small"),
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// True for errors of a device or path that refuses runs, or refuses runs of this size.
pub fn refuses_runs(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)
    )
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::AsFd;

    use super::*;

    fn message(bytes: &[u8], destination: SocketAddr) -> Message<'_> {
        Message {
            bytes,
            destination,
            source: None,
            segment_bytes: None,
            frame: None,
        }
    }

    #[test]
    fn sends_from_the_asked_for_address_and_no_more_than_its_capacity() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let from_source = Message {
            source: Some(source),
            ..message(b"a", to)
        };
        let messages = [from_source, message(b"bc", to), message(b"d", to)];
        let mut batch = SendBatch::new(2);
        assert_eq!(batch.send(sender.as_fd(), messages.into_iter()).unwrap(), 2);
        let mut buffer = [0; 8];
        let (length, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"a"[..], source));
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"bc");
    }

    #[test]
    fn a_message_of_segments_arrives_as_datagrams_from_the_asked_for_address() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let run = Message {
            source: Some(source),
            segment_bytes: Some(4),
            ..message(b"aaaabbbbcc", receiver.local_addr().unwrap())
        };
        let sent = SendBatch::new(1).send(sender.as_fd(), [run].into_iter());
        assert_eq!(sent.unwrap(), 1);
        let mut buffer = [0; 16];
        for expected in [&b"aaaa"[..], b"bbbb", b"cc"] {
            let (length, from) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.ip()), (expected, source));
        }
    }

    #[test]
    fn an_error_is_about_the_first_datagram() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unreachable = message(b"x", "[2001:db8::1]:9".parse().unwrap());
        let sent = SendBatch::new(1).send(sender.as_fd(), [unreachable].into_iter());
        assert!(sent.is_err());
    }
}
