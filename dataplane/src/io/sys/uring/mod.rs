//! Receives and sends messages through io_uring: multishot receives fill buffers as datagrams arrive; many messages are
//! sent with one system call.
//!
//! A ring belongs to the thread that created it. Received data is in buffers that the kernel chose, valid until the
//! next [`Uring::receive`]. A send is complete when [`Uring::send`] returns, so the kernel borrows no memory beyond a
//! call.

mod buffers; // buffer ring for receives
mod messages; // message headers for sends

use std::collections::VecDeque;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use io_uring::types::{CancelBuilder, Fixed, RecvMsgOut};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{Message, Received, addr, cmsg};
use buffers::{BUFFER_GROUP, Buffers};
use messages::Messages;

/// Bit of the user data that marks receives; the lower bits are the index of the socket or message.
const RECEIVE: u64 = 1 << 63;
const NAME_BYTES: usize = mem::size_of::<libc::sockaddr_storage>();
const CONTROL_BYTES: usize = mem::size_of::<cmsg::ControlBuffer>();
/// Bytes before the payload in a buffer: io_uring_recvmsg_out, source address, ancillary data.
const PREFIX_BYTES: usize = 16 + NAME_BYTES + CONTROL_BYTES;
/// Maximum number of buffers in a group.
const MAX_BUFFERS: u16 = 1 << 15;

/// Sizes of a ring and its buffers.
#[derive(Debug, Clone, Copy)]
pub struct UringSizes {
    /// Maximum number of messages sent with one call.
    pub messages: u16,
    /// Number of receive buffers, a power of two.
    pub buffers: u16,
    /// Payload bytes of each buffer; 64 KiB if the sockets use receive offload (UDP_GRO).
    pub payload_bytes: usize,
}

/// Reason why a ring cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UringError {
    /// The kernel, or a seccomp filter, refuses io_uring.
    #[error(
        "io_uring is refused (needs linux 6.1; seccomp profiles of containers and the sysctl \
         kernel.io_uring_disabled forbid it): {0}"
    )]
    Refused(io::Error),
    /// The sockets could not be registered.
    #[error("io_uring refuses {count} sockets: {error}")]
    Sockets {
        /// Number of sockets given.
        count: usize,
        /// Error of the system call.
        error: io::Error,
    },
    /// The buffers could not be registered.
    #[error("io_uring refuses {count} buffers: {error}")]
    Buffers {
        /// Number of buffers given.
        count: u16,
        /// Error of the system call.
        error: io::Error,
    },
    /// The number of buffers is not a power of two, or is too large.
    #[error("{0} buffers are not a power of two up to 32768")]
    Count(u16),
}

/// A ring with multishot receives on its sockets.
pub struct Uring {
    ring: IoUring,
    /// Receive buffers. The kernel may write to them until all receives are cancelled.
    buffers: ManuallyDrop<Buffers>,
    /// Layout of a buffer; the kernel reads this when a receive is armed.
    template: Box<libc::msghdr>,
    /// True for each socket whose receive is armed.
    armed: Vec<bool>,
    /// Completed receives that [`receive`](Self::receive) has not returned yet.
    waiting: VecDeque<Arrived>,
    /// Messages that the last [`receive`](Self::receive) returned; valid until the next one.
    shown: Vec<Arrived>,
    receive_error: Option<i32>,
    messages: Messages,
    /// True after a submission failed so that requests may remain: nothing is submitted any more.
    broken: bool,
    has_deferred_work: bool,
}

#[derive(Debug, Clone, Copy)]
struct Arrived {
    socket: usize,
    buffer: u16,
    /// Length of the data in the buffer, with its prefix.
    bytes: usize,
}

impl Uring {
    /// A ring for `sockets`, which are named by their index. The ring keeps them open, and `packet`, the packet socket
    /// for frames.
    ///
    /// The first [`receive`](Self::receive) arms the receives.
    pub fn new(
        sockets: &[BorrowedFd<'_>],
        packet: Option<BorrowedFd<'_>>,
        sizes: UringSizes,
    ) -> Result<Self, UringError> {
        if !sizes.buffers.is_power_of_two() || sizes.buffers > MAX_BUFFERS {
            return Err(UringError::Count(sizes.buffers));
        }
        let (ring, has_deferred_work) = set_up(sockets.len(), sizes)?;
        let files = sockets.iter().chain(&packet);
        let raw: Vec<RawFd> = files.map(AsRawFd::as_raw_fd).collect();
        ring.submitter()
            .register_files(&raw)
            .map_err(|error| UringError::Sockets {
                count: raw.len(),
                error,
            })?;
        let buffers = Buffers::register(&ring, sizes.buffers, PREFIX_BYTES + sizes.payload_bytes)
            .map_err(|error| UringError::Buffers {
            count: sizes.buffers,
            error,
        })?;
        // SAFETY: msghdr is plain data for which all zeroes are a valid value.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        template.msg_namelen = NAME_BYTES as _;
        template.msg_controllen = CONTROL_BYTES as _;
        Ok(Self {
            ring,
            buffers: ManuallyDrop::new(buffers),
            template,
            armed: vec![false; sockets.len()],
            waiting: VecDeque::with_capacity(usize::from(sizes.buffers)),
            shown: Vec::with_capacity(usize::from(sizes.buffers)),
            receive_error: None,
            messages: Messages::new(usize::from(sizes.messages)),
            broken: false,
            has_deferred_work,
        })
    }

    /// True when the kernel runs completions only inside the thread's own calls (Linux 6.1), which costs least.
    pub fn has_deferred_work(&self) -> bool {
        self.has_deferred_work
    }

    /// Maximum number of messages per [`send`](Self::send).
    pub fn capacity(&self) -> usize {
        self.messages.capacity()
    }

    /// Receives without blocking. Returns the number of messages, 0 if none wait. Messages of the last call become
    /// invalid.
    ///
    /// The caller may sleep only after a result of 0, and if no message [was fetched](Self::has_fetched) since; before
    /// that, a receive that ran out of buffers may not be armed. With [deferred work](Self::has_deferred_work) the
    /// caller sleeps until a socket is readable (messages are fetched by the next call), otherwise until
    /// [`as_fd`](AsFd::as_fd) is readable.
    pub fn receive(&mut self) -> io::Result<usize> {
        for arrived in self.shown.drain(..) {
            self.buffers.give_back(arrived.buffer);
        }
        self.buffers.publish();
        self.check()?;
        self.arm()?;
        if self.has_kernel_work() {
            self.submit(0)?;
        }
        self.reap();
        self.shown.extend(self.waiting.drain(..));
        match self.shown.len() {
            0 => match self.receive_error.take() {
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => Ok(0),
            },
            count => Ok(count),
        }
    }

    /// True when a [`send`](Self::send) has fetched messages. The sockets do not become readable for these; the next
    /// [`receive`](Self::receive) returns them.
    pub fn has_fetched(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Socket index and content of message `index` of the last [`receive`](Self::receive); `None` when its sender has
    /// no IP address.
    pub fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        let arrived = self.shown[index];
        let buffer = self.buffers.get(arrived.buffer, arrived.bytes);
        let parts = RecvMsgOut::parse(buffer, &self.template).ok()?;
        // The payload is the end of the buffer; its type borrows from `parts`.
        let length = parts.payload_data().len();
        let bytes = &buffer[PREFIX_BYTES..PREFIX_BYTES + length];
        let mut header = *self.template;
        header.msg_control = parts.control_data().as_ptr().cast_mut().cast();
        header.msg_controllen = parts.control_data().len() as _;
        let ancillary = cmsg::read(&header);
        let received = Received {
            bytes,
            segment_bytes: ancillary.segment_bytes.unwrap_or(length),
            source: addr::from_bytes(parts.name_data())?,
            local: ancillary.local,
            truncated: parts.is_payload_truncated(),
            queue_overflows: ancillary.queue_overflows,
        };
        Some((arrived.socket, received))
    }

    /// Sends the first of `messages` on a socket with one system call, without blocking. Returns the number that was
    /// tried. [`result`](Self::result) returns the result of each; a failed message does not stop later ones.
    pub fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        self.check()?;
        assert!(socket < self.armed.len(), "the socket is one of the ring's");
        // All headers are written first: an iterator that panics must not leave requests behind.
        let count = self.messages.fill(messages);
        // The packet socket has the index after all others.
        let (socket, packet) = (Fixed(socket as u32), Fixed(self.armed.len() as u32));
        for index in 0..count {
            let request = self.messages.request(index, socket, packet);
            let request = request.user_data(index as u64);
            // SAFETY: the header, and the name, control, iovec and payload it points to, live until this
            // function returns, and it returns when the request is complete or can never be submitted.
            unsafe { self.push(request)? };
        }
        while self.messages.outstanding() > 0 {
            if let Err(error) = self.submit(1) {
                self.abandon();
                return Err(error);
            }
            self.reap();
        }
        Ok(count)
    }

    /// Result of message `index` of the last [`send`](Self::send): bytes sent.
    pub fn result(&self, index: usize) -> io::Result<usize> {
        let result = self.messages.result(index);
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    fn check(&self) -> io::Result<()> {
        match self.broken {
            true => Err(io::Error::other(
                "the ring failed before and is not used any more",
            )),
            false => Ok(()),
        }
    }

    /// Arms the receive of every socket without an armed one.
    fn arm(&mut self) -> io::Result<()> {
        for socket in 0..self.armed.len() {
            if self.armed[socket] {
                continue;
            }
            let template: *const libc::msghdr = &raw const *self.template;
            let request = opcode::RecvMsgMulti::new(Fixed(socket as u32), template, BUFFER_GROUP)
                .build()
                .user_data(RECEIVE | socket as u64);
            // SAFETY: the template and the buffers live until the drop, which cancels this request first.
            unsafe { self.push(request)? };
            self.armed[socket] = true;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// The memory of the request must live until it is complete.
    unsafe fn push(&mut self, request: squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller keeps the memory of the request until the request is complete.
        let pushed = unsafe { self.ring.submission().push(&request) };
        pushed.map_err(|_| {
            // The ring has space for one receive per socket and a full batch.
            self.broken = true;
            io::Error::other("the submission queue is full")
        })
    }

    /// True when a system call would submit requests or return completions.
    fn has_kernel_work(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// Submits the pushed requests, and waits for `want` completions.
    fn submit(&self, want: usize) -> io::Result<()> {
        match self.ring.submitter().submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal, a temporary lack of memory, or completions that must be reaped first.
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                Some(_) | None => Err(error),
            },
        }
    }

    fn reap(&mut self) {
        for completion in self.ring.completion() {
            let (data, result) = (completion.user_data(), completion.result());
            if data & RECEIVE == 0 {
                self.messages.complete(data as usize, result);
                continue;
            }
            let socket = (data & !RECEIVE) as usize;
            if !cqueue::more(completion.flags()) {
                self.armed[socket] = false;
            }
            match (
                usize::try_from(result),
                cqueue::buffer_select(completion.flags()),
            ) {
                (Ok(bytes), Some(buffer)) => self.waiting.push_back(Arrived {
                    socket,
                    buffer,
                    bytes,
                }),
                (Ok(_), None) => {}
                (Err(_), _) if result == -libc::ENOBUFS => {}
                (Err(_), _) => self.receive_error = Some(-result),
            }
        }
    }

    /// Drops requests that were not submitted, and cancels submitted ones, so that no request outlives its memory.
    fn abandon(&mut self) {
        self.broken = true;
        let cancelled = self
            .ring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        if cancelled.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            // The kernel might read payloads of the caller after they are freed.
            std::process::abort();
        }
        self.messages.forget();
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the ring, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let cancelled = self
            .ring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        let is_idle = match cancelled {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_idle {
            // SAFETY: dropped here alone; no receive is left that could write to them.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}

/// A ring whose work is done only inside our calls (deferred task work); before Linux 6.1 at least without interrupts.
fn set_up(sockets: usize, sizes: UringSizes) -> Result<(IoUring, bool), UringError> {
    let requests = u32::from(sizes.messages) + sockets as u32;
    let completions = requests + u32::from(sizes.buffers);
    let mut builder = IoUring::builder();
    builder
        .setup_cqsize(completions.next_power_of_two())
        .setup_coop_taskrun()
        .setup_taskrun_flag();
    let mut deferred = builder.clone();
    deferred.setup_single_issuer().setup_defer_taskrun();
    match deferred.build(requests) {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let ring = builder.build(requests).map_err(UringError::Refused)?;
            Ok((ring, false))
        }
        Err(error) => Err(UringError::Refused(error)),
    }
}

#[cfg(test)]
mod tests;
