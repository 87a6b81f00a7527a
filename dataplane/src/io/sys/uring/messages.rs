//! Message headers of one submission, and the result of each message.

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::super::Message;
use super::super::headers::Headers;

/// Message headers of sends, allocated once.
pub(super) struct Messages {
    parts: Headers,
    headers: Box<[libc::msghdr]>,
    /// True for each message that is sent as an Ethernet frame.
    framed: Box<[bool]>,
    results: Box<[i32]>,
    outstanding: usize,
}

impl Messages {
    pub(super) fn new(count: usize) -> Self {
        Self {
            parts: Headers::new(count),
            headers: vec![Headers::empty(); count].into_boxed_slice(),
            framed: vec![false; count].into_boxed_slice(),
            results: vec![0; count].into_boxed_slice(),
            outstanding: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Writes headers for the first of `messages`. Returns their number.
    pub(super) fn fill<'a>(&mut self, messages: impl Iterator<Item = Message<'a>>) -> usize {
        let mut count = 0;
        for message in messages.take(self.capacity()) {
            self.headers[count] = self.parts.describe(count, &message);
            self.framed[count] = message.frame.is_some();
            count += 1;
        }
        self.results[..count].fill(-libc::ECANCELED);
        self.outstanding = count;
        count
    }

    /// The request that sends message `index`: through `packet` if it is a frame, else through `socket`. It points into
    /// `self` and to the bytes of the message.
    pub(super) fn request(&self, index: usize, socket: Fixed, packet: Fixed) -> squeue::Entry {
        let header = &self.headers[index];
        let file = if self.framed[index] { packet } else { socket };
        if !self.framed[index] || header.msg_iovlen > 1 {
            return opcode::SendMsg::new(file, &raw const *header)
                .flags(libc::MSG_DONTWAIT as u32)
                .build();
        }
        // SAFETY: `fill` made the header point to iovecs that live in `parts`.
        let whole = unsafe { &*header.msg_iov };
        let length = u32::try_from(whole.iov_len).expect("a frame is short");
        opcode::Send::new(file, whole.iov_base.cast_const().cast(), length)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(header.msg_name.cast_const().cast())
            .dest_addr_len(header.msg_namelen)
            .build()
    }

    /// Number of submitted messages without a completion.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub(super) fn complete(&mut self, index: usize, result: i32) {
        self.results[index] = result;
        self.outstanding -= 1;
    }

    /// Drops all outstanding messages: no completion will arrive.
    pub(super) fn forget(&mut self) {
        self.outstanding = 0;
    }

    /// Bytes sent, or a negative errno.
    pub(super) fn result(&self, index: usize) -> i32 {
        self.results[index]
    }
}
