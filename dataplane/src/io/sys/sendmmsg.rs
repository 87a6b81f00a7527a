//! Many datagrams out, one system call.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::addr;
use super::cmsg::{self, ControlBuffer};

/// One datagram to send.
pub trait Outgoing {
    /// What is in it.
    fn bytes(&self) -> &[u8];
    /// Who shall get it.
    fn destination(&self) -> SocketAddr;
    /// The local address to send from; `None` lets the routing table choose.
    fn source(&self) -> Option<IpAddr>;
}

/// Headers for one `sendmmsg`, allocated once.
pub struct SendBatch {
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[ControlBuffer]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl SendBatch {
    /// Headers for up to `messages` datagrams a call.
    pub fn new(messages: usize) -> Self {
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: mmsghdr is plain data for which all zeroes are a valid value.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        Self {
            names: vec![addr::empty(); messages].into_boxed_slice(),
            controls: vec![ControlBuffer::EMPTY; messages].into_boxed_slice(),
            iovecs: vec![iovec; messages].into_boxed_slice(),
            headers: vec![header; messages].into_boxed_slice(),
        }
    }

    /// Datagrams a call takes at most.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Sends the first of `datagrams` without waiting; how many the kernel took.
    ///
    /// An error is about the first datagram alone: nothing was sent.
    pub fn send<T: Outgoing>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: &[T],
    ) -> io::Result<usize> {
        let count = datagrams.len().min(self.capacity());
        for (index, datagram) in datagrams[..count].iter().enumerate() {
            self.fill(index, datagram);
        }
        // SAFETY: the first `count` headers point to names, controls and iovecs owned by self and to
        // payloads borrowed from `datagrams`, all alive during the call; the kernel only reads them.
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

    fn fill<T: Outgoing>(&mut self, index: usize, datagram: &T) {
        let bytes = datagram.bytes();
        self.iovecs[index] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_namelen = addr::to_storage(datagram.destination(), &mut self.names[index]);
        header.msg_iov = ptr::from_mut(&mut self.iovecs[index]);
        header.msg_iovlen = 1;
        match datagram.source() {
            Some(source) => {
                let control = &mut self.controls[index];
                header.msg_controllen = cmsg::write_source(control, source) as _;
                header.msg_control = control.0.as_mut_ptr().cast();
            }
            None => {
                header.msg_controllen = 0;
                header.msg_control = ptr::null_mut();
            }
        }
        header.msg_flags = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    struct Datagram(&'static [u8], SocketAddr, Option<IpAddr>);

    impl Outgoing for Datagram {
        fn bytes(&self) -> &[u8] {
            self.0
        }
        fn destination(&self) -> SocketAddr {
            self.1
        }
        fn source(&self) -> Option<IpAddr> {
            self.2
        }
    }

    #[test]
    fn sends_from_the_asked_for_address_and_no_more_than_its_capacity() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let datagrams = [
            Datagram(b"a", to, Some(source)),
            Datagram(b"bc", to, None),
            Datagram(b"d", to, None),
        ];
        let mut batch = SendBatch::new(2);
        assert_eq!(batch.send(sender.as_fd(), &datagrams).unwrap(), 2);
        let mut buffer = [0; 8];
        let (length, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"a"[..], source));
        let (length, _) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"bc");
    }

    #[test]
    fn an_error_is_about_the_first_datagram() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unreachable = Datagram(b"x", "[2001:db8::1]:9".parse().unwrap(), None);
        assert!(
            SendBatch::new(1)
                .send(sender.as_fd(), &[unreachable])
                .is_err()
        );
    }
}
