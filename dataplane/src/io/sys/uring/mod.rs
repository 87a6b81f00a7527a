//! The same messages in and out through io_uring: receives that stay armed and fill buffers as datagrams
//! come, sends of many messages with one system call.
//!
//! A ring belongs to the thread that made it. Received data is in buffers that the kernel chose, until the next
//! [`Uring::receive`]. A send is complete when [`Uring::send`] returns, so the kernel borrows nothing beyond a call.

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

/// This bit marks receives; the bits below it are the number of the socket or of the message.
const RECEIVE: u64 = 1 << 63;
const NAME_BYTES: usize = mem::size_of::<libc::sockaddr_storage>();
const CONTROL_BYTES: usize = mem::size_of::<cmsg::ControlBuffer>();
/// Bytes before the payload in a buffer: io_uring_recvmsg_out, the source, ancillary data.
const PREFIX_BYTES: usize = 16 + NAME_BYTES + CONTROL_BYTES;
/// Most buffers of a group.
const MAX_BUFFERS: u16 = 1 << 15;

/// Sizes of a ring.
#[derive(Debug, Clone, Copy)]
pub struct UringSizes {
    /// Messages sent with one call.
    pub messages: u16,
    /// Messages that can wait to be looked at; a power of two.
    pub buffers: u16,
    /// Bytes of each; 64 KiB if the sockets have their receive offload enabled.
    pub payload_bytes: usize,
}

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum UringError {
    /// The kernel, or a seccomp filter, refuses io_uring.
    #[error(
        "io_uring is refused (needs linux 6.1; seccomp profiles of containers and the sysctl \
         kernel.io_uring_disabled forbid it): {0}"
    )]
    Refused(io::Error),
    /// They could not be registered.
    #[error("io_uring refuses {count} sockets: {error}")]
    Sockets {
        /// Number of sockets given.
        count: usize,
        /// Error of the system call.
        error: io::Error,
    },
    /// They could not be registered.
    #[error("io_uring refuses {count} buffers: {error}")]
    Buffers {
        /// Number of buffers given.
        count: u16,
        /// Error of the system call.
        error: io::Error,
    },
    /// The number of buffers is invalid.
    #[error("{0} buffers are not a power of two up to 32768")]
    Count(u16),
}

/// Sockets with armed receives, and room to send.
pub struct Uring {
    ring: IoUring,
    /// The kernel may write to them until all receives are cancelled.
    buffers: ManuallyDrop<Buffers>,
    /// Layout of a buffer; the kernel reads it when a receive is armed.
    template: Box<libc::msghdr>,
    /// True for each socket with an armed receive.
    armed: Vec<bool>,
    /// Completed, not shown yet.
    waiting: VecDeque<Arrived>,
    /// Shown until the next receive.
    shown: Vec<Arrived>,
    receive_error: Option<i32>,
    messages: Messages,
    /// A submission failed in a way that leaves requests behind: none is submitted any more.
    broken: bool,
    has_deferred_work: bool,
}

#[derive(Debug, Clone, Copy)]
struct Arrived {
    socket: usize,
    buffer: u16,
    /// Bytes of the buffer, with the prefix.
    bytes: usize,
}

impl Uring {
    /// A ring for `sockets`, which are named by their index from here on. They stay open with it, and so does
    /// `packet`, the packet socket that frames leave through.
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

    /// True when completions are left to the thread's own calls (Linux 6.1), which costs least.
    pub fn has_deferred_work(&self) -> bool {
        self.has_deferred_work
    }

    /// Messages a [`send`](Self::send) takes at most.
    pub fn capacity(&self) -> usize {
        self.messages.capacity()
    }

    /// Receives without blocking; returns the number of messages, 0 if there are none. Earlier messages are invalid
    /// now.
    ///
    /// Sleep only after a 0, and if nothing [was fetched](Self::has_fetched) since: before that, a receive that ran
    /// out of buffers may not be armed again. Until
    /// [`as_fd`](AsFd::as_fd) is readable; or, with [deferred work](Self::has_deferred_work), until a socket
    /// is: what has arrived is then fetched by the next call, not before.
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

    /// True when a [`send`](Self::send) has fetched what arrived meanwhile: then the sockets do not become
    /// readable for it any more, and it waits for the next [`receive`](Self::receive).
    pub fn has_fetched(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Message `index` of the last [`receive`](Self::receive), and the number of its socket; `None` when
    /// its sender has no IP address.
    pub fn get(&self, index: usize) -> Option<(usize, Received<'_>)> {
        let arrived = self.shown[index];
        let buffer = self.buffers.get(arrived.buffer, arrived.bytes);
        let parts = RecvMsgOut::parse(buffer, &self.template).ok()?;
        // The parts borrow from `parts` by their signature; the payload is the end of the buffer.
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

    /// Sends the first of `messages` on a socket without waiting, with one system call; how many were
    /// tried. [`result`](Self::result) says what became of each; one that fails holds up none after it.
    pub fn send<'a>(
        &mut self,
        socket: usize,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        self.check()?;
        assert!(socket < self.armed.len(), "the socket is one of the ring's");
        // All headers first: an iterator that panics must not leave requests behind.
        let count = self.messages.fill(messages);
        // The packet socket comes after all others.
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
        // SAFETY: the caller keeps what the request points to.
        let pushed = unsafe { self.ring.submission().push(&request) };
        pushed.map_err(|_| {
            // The ring has room for one receive of each socket and a full batch.
            self.broken = true;
            io::Error::other("the submission queue is full")
        })
    }

    /// True when a call would submit something or yield completions.
    fn has_kernel_work(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// Submits the pushed requests, and waits for `want` completions.
    fn submit(&self, want: usize) -> io::Result<()> {
        match self.ring.submitter().submit_and_wait(want) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal, no memory for the moment, or completions to be reaped first.
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

    /// No request may outlive its memory: unsubmitted requests are dropped, submitted ones are cancelled.
    fn abandon(&mut self) {
        self.broken = true;
        let cancelled = self
            .ring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        if cancelled.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            // Payloads of the caller might be read after they are gone.
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

/// A ring that works only during our calls (deferred task work), or before Linux 6.1 at least without interrupts.
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
