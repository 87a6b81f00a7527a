//! Receives many messages with one system call. A message is a datagram, or several of one source that the kernel
//! joined (UDP_GRO).

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::addr;
use super::cmsg::{self, ControlBuffer};

/// Buffers for one `recvmmsg`, allocated once.
pub struct ReceiveBatch {
    datagram_bytes: usize,
    payloads: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[ControlBuffer]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// One received message, borrowed from its batch.
#[derive(Debug)]
pub struct Received<'a> {
    /// Payload of the message.
    pub bytes: &'a [u8],
    /// Bytes of each datagram in the message but the last, which may be shorter.
    pub segment_bytes: usize,
    /// Source address of the message.
    pub source: SocketAddr,
    /// The local address that the message was sent to, if the kernel returned it.
    pub local: Option<IpAddr>,
    /// True when the message was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// Number of datagrams that the socket has dropped so far because its receive buffer was full.
    pub queue_overflows: Option<u32>,
}

// SAFETY: the pointers in `headers` and `iovecs` point into boxes of this struct. No other code has these pointers, and
// the boxes stay in place when the batch moves.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Buffers for `messages` messages of up to `datagram_bytes` each.
    pub fn new(messages: usize, datagram_bytes: usize) -> Self {
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: mmsghdr is plain data for which all zeroes are a valid value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        Self {
            datagram_bytes,
            payloads: vec![0; messages * datagram_bytes].into_boxed_slice(),
            names: vec![addr::empty(); messages].into_boxed_slice(),
            controls: vec![ControlBuffer::EMPTY; messages].into_boxed_slice(),
            iovecs: vec![iovec; messages].into_boxed_slice(),
            headers: vec![header; messages].into_boxed_slice(),
        }
    }

    /// Receives without blocking. Returns the number of messages, 0 if none wait.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.point_headers();
        let count = libc::c_uint::try_from(self.headers.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the headers point to buffers of self and contain their lengths. No other code uses the buffers during
        // the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Message `index` of the last [`receive`](Self::receive); `None` when its sender has no IP address.
    pub fn get(&self, index: usize) -> Option<Received<'_>> {
        let message = &self.headers[index];
        let ancillary = cmsg::read(&message.msg_hdr);
        let start = index * self.datagram_bytes;
        let length = (message.msg_len as usize).min(self.datagram_bytes);
        Some(Received {
            bytes: &self.payloads[start..start + length],
            segment_bytes: ancillary.segment_bytes.unwrap_or(length),
            source: addr::from_storage(&self.names[index])?,
            local: ancillary.local,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            queue_overflows: ancillary.queue_overflows,
        })
    }

    fn point_headers(&mut self) {
        let payloads = self.payloads.chunks_exact_mut(self.datagram_bytes);
        for (index, payload) in payloads.enumerate() {
            self.iovecs[index] = libc::iovec {
                iov_base: payload.as_mut_ptr().cast(),
                iov_len: payload.len(),
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as _;
            header.msg_iov = ptr::from_mut(&mut self.iovecs[index]);
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = self.controls[index].0.len() as _;
            header.msg_flags = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn joined_datagrams_say_where_each_ends() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        super::super::enable_receive_offload(receiver.as_fd()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let run = super::super::Message {
            bytes: b"aaaabbbbcc",
            destination: receiver.local_addr().unwrap(),
            source: None,
            segment_bytes: Some(4),
            frame: None,
        };
        let mut out = super::super::SendBatch::new(1);
        out.send(sender.as_fd(), [run].into_iter()).unwrap();
        let mut batch = ReceiveBatch::new(2, 64);
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), 1);
        let joined = batch.get(0).unwrap();
        assert_eq!(
            (joined.bytes, joined.segment_bytes),
            (&b"aaaabbbbcc"[..], 4)
        );
    }

    #[test]
    fn a_batch_has_source_destination_and_bytes_of_each_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        super::super::enable_packet_info(receiver.as_fd(), false).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = ReceiveBatch::new(4, 16);
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), 0);
        for payload in [&b"one"[..], b"", b"seventeen bytes!!"] {
            sender
                .send_to(payload, receiver.local_addr().unwrap())
                .unwrap();
        }
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), 3);
        let first = batch.get(0).unwrap();
        assert_eq!(first.bytes, b"one");
        assert_eq!(first.source, sender.local_addr().unwrap());
        assert_eq!(first.local, Some("127.0.0.1".parse().unwrap()));
        assert!(!first.truncated);
        assert_eq!(batch.get(1).unwrap().bytes, b"");
        let third = batch.get(2).unwrap();
        assert!(third.truncated);
        assert_eq!(third.bytes, b"seventeen bytes!");
    }
}
